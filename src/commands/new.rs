//! `sslc new`: a starter spec.

use crate::cli::Method;
use crate::compile::Failure;
use crate::report::print;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::write_atomically;
use std::path::Path;

fn starter(method: Method) -> &'static str {
    match method {
        Method::Simclr => include_str!("../../examples/simclr.ssl"),
        Method::Byol => include_str!("../../examples/byol.ssl"),
        Method::BarlowTwins => include_str!("../../examples/barlow_twins.ssl"),
        Method::Simsiam => include_str!("../../examples/simsiam.ssl"),
    }
}

/// Writes the starter spec of a method; an existing file is kept unless `force` is given.
pub fn run(path: &Path, method: Method, force: bool) -> Result<u8, Failure> {
    if path.exists() && !force {
        return Err(
            Diagnostic::new(codes::E0903, format!("'{}' exists already", path.display()))
                .help("choose another name, or overwrite it with --force")
                .into(),
        );
    }
    write_atomically(path, starter(method).as_bytes())?;
    print(&format!(
        "{path} is ready: sslc run {path}\n",
        path = path.display()
    ));
    Ok(0)
}
