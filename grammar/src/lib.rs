//! The `.ssl` language: text in, syntax tree out. Knows no tensor.
//!
//! - [`span`]: places in source text, and the sources themselves.
//! - [`diag`]: what a person is told: code, sentence, labels, help.
//! - [`codes`]: the table of all diagnostic codes with their exit codes.
//! - [`ast`]: the syntax tree.
pub mod ast;
pub mod codes;
pub mod diag;
pub mod span;
