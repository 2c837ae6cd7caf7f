//! Tests of the language: trees, errors, depth, the formatter.

mod errors;
mod extremes;
mod formatter;
mod generate;
mod properties;
mod trees;

use sslc_grammar::span::FileId;

const FILE: FileId = FileId(0);
