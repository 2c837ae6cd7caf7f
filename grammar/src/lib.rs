//! The `.ssl` language: text in, syntax tree out. Knows no tensor.
//!
//! - [`span`]: places in source text, and the sources themselves.
//! - [`diag`]: what a person is told: code, sentence, labels, help.
//! - [`codes`]: the table of all diagnostic codes with their exit codes.
//! - [`ast`]: the syntax tree.
//! - [`ast::print`]: the text form of the tree (`print`).
//! - [`words`]: the reserved words.
//! - [`parse()`]: text to tree. On the way: `lex` (tokens, comments; `foreign`: signs
//!   of other languages), `brackets` (matching, depth, one part per item),
//!   `ssl.pest` (the grammar), `build` (pairs to tree, precedence), `syntax` (errors in the field's words).
//! - [`format()`]: the formatter.
pub mod ast;
mod brackets;
mod build;
pub mod codes;
pub mod diag;
mod foreign;
mod format;
mod lex;
mod parse;
mod print;
pub mod span;
mod syntax;
pub mod words;

pub use format::format;
pub use parse::{MAX_FILE_SIZE, parse};
