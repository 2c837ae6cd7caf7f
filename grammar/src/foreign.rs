//! Signs that are none of the language's, with what to write instead.

/// What people write from habit, with what the language has instead.
pub(crate) const FOREIGN: &[(&str, &str)] = &[
    ("**", "a power is written `a ^ b`"),
    ("&&", "write `and`"),
    ("||", "write `or`"),
    (
        "//",
        "a comment starts with `#`; division is written with one `/`",
    ),
    ("/*", "a comment starts with `#` and ends with its line"),
    (
        "->",
        "a function is written `fn name(x) = expression`, a pipeline `x |> f`",
    ),
    (
        "=>",
        "a function is written `fn name(x) = expression`, a comparison `>=`",
    ),
    (
        "+=",
        "values do not change: give the sum a name of its own with `let`",
    ),
    (
        "-=",
        "values do not change: give the difference a name of its own with `let`",
    ),
    (
        "*=",
        "values do not change: give the product a name of its own with `let`",
    ),
    (
        "/=",
        "values do not change: give the quotient a name of its own with `let`; \"not equal\" is `!=`",
    ),
    ("::", "a name of an import is written `alias.name`"),
    (":=", "a definition is written `let name = expression`"),
    ("'", "strings stand in double quotes"),
    ("`", "strings stand in double quotes"),
    ("!", "write `not`"),
    ("&", "write `and`"),
    (
        "|",
        "a pipeline is written `x |> f`, the logical operator `or`",
    ),
    ("%", "the language has no remainder operator"),
    ("~", "write `not` for negation"),
    ("?", "a choice is written `if condition { a } else { b }`"),
    ("$", "names are written without a sign before them"),
    (
        "\\",
        "lines need no continuation sign: line breaks separate like spaces",
    ),
];

/// Signs that look like one of the language's, as they come from a paper or a word processor.
pub(crate) const LOOKALIKES: &[(char, &str)] = &[
    ('\u{2212}', "-"),
    ('\u{2013}', "-"),
    ('\u{2014}', "-"),
    ('\u{2010}', "-"),
    ('\u{2011}', "-"),
    ('\u{d7}', "*"),
    ('\u{b7}', "*"),
    ('\u{22c5}', "*"),
    ('\u{2217}', "*"),
    ('\u{f7}', "/"),
    ('\u{2044}', "/"),
    ('\u{2264}', "<="),
    ('\u{2265}', ">="),
    ('\u{2260}', "!="),
    ('\u{201c}', "\""),
    ('\u{201d}', "\""),
    ('\u{201e}', "\""),
    ('\u{2018}', "\""),
    ('\u{2019}', "\""),
    ('\u{2026}', ".."),
    ('\u{2192}', "|>"),
    ('\u{ff08}', "("),
    ('\u{ff09}', ")"),
    ('\u{ff0c}', ","),
    ('\u{ff1a}', ":"),
    ('\u{ff1d}', "="),
];
