//! The words of the language.

/// Words that begin an item.
pub const ITEMS: &[&str] = &[
    "import",
    "param",
    "data",
    "views",
    "encoder",
    "projector",
    "predictor",
    "target",
    "module",
    "fn",
    "let",
    "loss",
    "watch",
    "train",
    "eval",
];

/// Words kept free for a later version of the language.
pub const LATER: &[&str] = &["state", "update", "parameter"];

/// Reserved words that begin no item.
pub const OTHER: &[&str] = &[
    "as", "for", "in", "if", "else", "and", "or", "not", "true", "false", "forward",
];

/// Whether `word` cannot be a name. Argument names, block keys and fields may be reserved words.
pub fn is_reserved(word: &str) -> bool {
    ITEMS.contains(&word) || LATER.contains(&word) || OTHER.contains(&word)
}

/// Whether a line that starts with `word` outside all brackets starts an item.
pub(crate) fn starts_item(word: &str) -> bool {
    ITEMS.contains(&word) || LATER.contains(&word)
}
