//! Pages in a real browser: Chromium without a window.
//!
//! The browser is what `SSLC_BROWSER` names, else `chromium`. Where there is none, the test says so and passes; with
//! `SSLC_REQUIRE_BROWSER=1`, as in CI, it fails.

use std::env;
use std::path::Path;
use std::process::Command;

/// What a browser made of a page.
pub struct Seen {
    /// The document after its scripts have run.
    pub document: String,
    /// Lines of its console.
    pub complaints: Vec<String>,
}

/// Opens a page in a window of this width.
#[track_caller]
pub fn open(page: &Path, width: u32, dark: bool) -> Option<Seen> {
    let browser = env::var("SSLC_BROWSER").unwrap_or_else(|_| "chromium".to_owned());
    let there = Command::new(&browser).arg("--version").output();
    if !there.is_ok_and(|o| o.status.success()) {
        assert!(
            env::var_os("SSLC_REQUIRE_BROWSER").is_none(),
            "there is no {browser}, and SSLC_REQUIRE_BROWSER is set"
        );
        eprintln!("SKIPPED: there is no {browser}; install it or name one with SSLC_BROWSER");
        return None;
    }
    let profile = tempfile::tempdir().unwrap();
    let scheme = if dark { 0 } else { 1 };
    let output = Command::new(&browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(page)
        .output()
        .unwrap();
    assert!(output.status.success(), "{browser}: {}", output.status);
    let log = String::from_utf8_lossy(&output.stderr);
    let complaints = log.lines().filter(|l| l.contains("CONSOLE"));
    Some(Seen {
        document: String::from_utf8_lossy(&output.stdout).into_owned(),
        complaints: complaints.map(str::to_owned).collect(),
    })
}
