//! Reads specs and their imports from disk, never outside the folder of the spec on the command line.

use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::tensors::cannot_read;
use std::fs;
use std::path::Path;

/// Reads a text file that people wrote.
///
/// # Errors
/// When the file is missing, unreadable or not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let bytes = fs::read(path).map_err(|error| cannot_read(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        Diagnostic::new(
            codes::E0655,
            format!(
                "the file '{}' is not text: byte {} is not UTF-8",
                path.display(),
                error.utf8_error().valid_up_to()
            ),
        )
        .help("a spec is a UTF-8 text file")
    })
}
