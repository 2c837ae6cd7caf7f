//! `sslc new`: a starter spec.

use crate::cli::Method;
use crate::compile::Failure;
use crate::report::print;
use crate::starter::{Images, spec};
use clap::ValueEnum;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::write_atomically;
use std::path::{Path, PathBuf};

/// Writes the starter spec of a method for the images of a folder; an existing file is kept unless `force` is given.
pub fn run(
    method: Method,
    path: Option<&Path>,
    data: Option<&Path>,
    force: bool,
) -> Result<u8, Failure> {
    let path = path.map_or_else(|| default_path(method), Path::to_owned);
    let shown = path.display();
    if path.exists() && !force {
        return Err(
            Diagnostic::new(codes::E0903, format!("'{shown}' exists already"))
                .help("give another name after the method, or overwrite it with --force")
                .into(),
        );
    }
    let images = match data {
        Some(folder) => Images::look(folder)?,
        None => Images::built_in(),
    };
    write_atomically(&path, spec(method, &images).as_bytes())?;
    print(&format!(
        "{shown} is ready: {}\n  sslc views {shown} --out views.png   shows its views\n  sslc run {shown}   trains\n",
        images.summary()
    ));
    Ok(0)
}

/// `barlow_twins.ssl`
fn default_path(method: Method) -> PathBuf {
    let name = method.to_possible_value();
    let name = name.map_or_else(String::new, |v| v.get_name().replace('-', "_"));
    PathBuf::from(format!("{name}.ssl"))
}
