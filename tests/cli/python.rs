//! Python programs that check what `sslc` writes: `tests/python`.
//!
//! They run in the Python that `SSLC_PYTHON` names, else in `python3`, where it has the modules that a check needs; otherwise
//! the test says so and passes. With `SSLC_REQUIRE_PYTHON=1`, as in CI, a missing module fails it.

use std::env;
use std::path::Path;
use std::process::Command;

/// Runs a program of `tests/python` if the modules are there; returns what it printed.
#[track_caller]
pub fn check(script: &str, modules: &[&str], args: &[&str]) -> Option<String> {
    let python = env::var("SSLC_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imports = format!("import {}", modules.join(", "));
    let there = Command::new(&python)
        .args(["-c", &imports])
        .output()
        .is_ok_and(|o| o.status.success());
    if !there {
        let missing = format!("{python} lacks one of: {}", modules.join(", "));
        assert!(
            env::var_os("SSLC_REQUIRE_PYTHON").is_none(),
            "{missing}, and SSLC_REQUIRE_PYTHON is set"
        );
        eprintln!(
            "SKIPPED: {missing}. `.ci/python DIR` makes a Python that has them; name it with SSLC_PYTHON=DIR/bin/python"
        );
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(script);
    let output = Command::new(&python).arg(path).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{script} {args:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
