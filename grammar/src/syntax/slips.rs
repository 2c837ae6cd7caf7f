//! The common slips, and what is said of each.

use super::Place;
use crate::codes;
use crate::diag::{Diagnostic, nearest};
use crate::lex::Kind;
use crate::parse::Rule;
use crate::span::Span;
use crate::words;

/// A `(` or `[` that should touch what it follows.
pub(crate) fn untouching(bracket: &str, at: Span) -> Diagnostic {
    let (what, example) = if bracket == "(" {
        ("a call", "f(x)")
    } else {
        ("an index", "x[i]")
    };
    Diagnostic::new(
        codes::E0012,
        format!("the `{bracket}` of {what} has to touch what it follows"),
    )
    .label(at, "a space stands before it")
    .help(format!(
        "write `{example}` for {what}, or `;` before it if a new expression is meant"
    ))
}

/// How other languages begin what an item is here.
const FAMILIAR: &[(&str, &str)] = &[
    ("def", "fn"),
    ("func", "fn"),
    ("function", "fn"),
    ("fun", "fn"),
    ("var", "let"),
    ("val", "let"),
    ("const", "let"),
    ("set", "let"),
    ("class", "module"),
    ("struct", "module"),
    ("use", "import"),
    ("include", "import"),
    ("require", "import"),
    ("from", "import"),
    ("network", "encoder"),
    ("backbone", "encoder"),
    ("head", "projector"),
    ("dataset", "data"),
    ("augment", "views"),
    ("transform", "views"),
    ("view", "views"),
    ("training", "train"),
    ("evaluate", "eval"),
    ("evaluation", "eval"),
    ("log", "watch"),
    ("metric", "watch"),
    ("objective", "loss"),
    ("momentum", "target"),
    ("teacher", "target"),
    ("parameter", "param"),
];

impl Place<'_> {
    /// A message of its own for what people commonly get wrong.
    pub(super) fn slip(&self) -> Option<Diagnostic> {
        self.later_word()
            .or_else(|| self.open_bracket())
            .or_else(|| self.apart())
            .or_else(|| self.line_minus())
            .or_else(|| self.definition_sign())
            .or_else(|| self.reserved_name())
            .or_else(|| self.unknown_item())
    }

    fn expects_item(&self) -> bool {
        self.expects(Rule::items) || self.expects(Rule::kw_data)
    }

    fn later_word(&self) -> Option<Diagnostic> {
        let word = self.found();
        if !words::LATER.contains(&word) || self.next(1) == "=" && self.in_bracket("{") {
            return None;
        }
        Some(
            self.error(
                codes::E0022,
                format!("`{word}` is reserved for a later version of the language"),
                "this word",
            )
            .help("a name cannot be this word; choose another one"),
        )
    }

    /// An item in the midst of an expression: its bracket was never closed.
    fn open_bracket(&self) -> Option<Diagnostic> {
        let token = self.token()?;
        let open = self.bracket()?;
        let bracket = self.text_of(open);
        let right = match bracket {
            "(" => ")",
            "[" => "]",
            _ => return None,
        };
        if !token.line_start || !words::ITEMS.contains(&self.found()) || self.next(1) == ":" {
            return None;
        }
        Some(
            Diagnostic::new(codes::E0006, format!("`{bracket}` is not closed"))
                .label(self.span_of(open), "opened here")
                .label(self.span(), format!("`{right}` is missing before this"))
                .help(format!("add the missing `{right}`")),
        )
    }

    fn apart(&self) -> Option<Diagnostic> {
        let (token, previous) = (self.token()?, self.previous()?);
        let bracket = self.found();
        let apart = (bracket == "(" || bracket == "[")
            && previous.end < token.start
            && !token.line_start
            && self.after_operand()
            && (self.expects(Rule::pipe) || self.expects(Rule::open_paren));
        apart.then(|| untouching(bracket, self.span()))
    }

    fn line_minus(&self) -> Option<Diagnostic> {
        let token = self.token()?;
        let previous = self.previous()?;
        let ended = self.after_operand() || self.text_of(previous) == "}";
        if self.found() != "-" || !token.line_start || !ended {
            return None;
        }
        Some(
            self.error(
                codes::E0021,
                "a `-` that begins a line and touches its operand starts a new expression",
                "this `-`",
            )
            .label(self.span_of(previous), "the expression before ended here")
            .help("write `- x` with a space to subtract, or leave the `-` at the end of the line before"),
        )
    }

    /// `=`, `:` and `==` in each other's place.
    fn definition_sign(&self) -> Option<Diagnostic> {
        let name = self.previous_text();
        let (message, help) = match self.found() {
            "=" if self.expects(Rule::colon) && self.in_bracket("(") => (
                "a named argument is written with `:`",
                format!("write `{name}: …`"),
            ),
            "=" if self.expects(Rule::open_brace) && !self.expects(Rule::compare) => (
                "a block of settings is written without `=`",
                format!("write `{name} {{ … }}`"),
            ),
            "=" if self.expects(Rule::compare) && self.starts_statement() => (
                "a definition in a block starts with `let`",
                format!("write `let {name} = …`"),
            ),
            "=" if self.expects(Rule::compare) && self.after_operand() => (
                "a comparison is written with `==`",
                "write `a == b` to compare; a definition starts with its keyword on a line of its own"
                    .to_string(),
            ),
            ":" if self.expects(Rule::equals) && self.in_bracket("(") => (
                "a default is written with `=`",
                format!("write `{name} = …`; arguments have no types"),
            ),
            ":" if self.expects(Rule::equals) => (
                "a definition is written with `=`",
                format!("write `{name} = …`"),
            ),
            "==" if self.expects(Rule::equals) => (
                "`==` compares, it does not define",
                format!("write `{name} = …`"),
            ),
            "{" if name == "=" && self.expects(Rule::expr) => (
                "a body in braces is written without `=`",
                "write `fn name(x) { let … expression }`, or `= expression` without braces"
                    .to_string(),
            ),
            _ => return None,
        };
        Some(self.error(codes::E0014, message, "here").help(help))
    }

    /// Whether the token before the place is the first of a statement in a block.
    fn starts_statement(&self) -> bool {
        let before = self
            .index
            .checked_sub(2)
            .and_then(|i| self.tokens.get(i))
            .map_or("", |t| self.text_of(*t));
        self.in_bracket("{")
            && self
                .previous()
                .is_some_and(|t| t.line_start || matches!(before, "{" | ";" | ","))
    }

    fn reserved_name(&self) -> Option<Diagnostic> {
        let word = self.found();
        let wants_value = self.expects(Rule::expr) || self.expects(Rule::number);
        let wants_name =
            self.expects(Rule::name) && !wants_value && !self.expects(Rule::close_brace);
        if !words::is_reserved(word) || !(wants_name || wants_value) {
            return None;
        }
        let help = match word {
            "data" => "images come from `views`; the data has no name",
            "loss" => "name the expression with `let` to use it twice",
            "else" => "`else` follows the `}` of an `if`",
            _ => "choose another name",
        };
        Some(
            self.error(
                codes::E0010,
                if wants_name {
                    format!("`{word}` is a word of the language and cannot be a name")
                } else {
                    format!("`{word}` is a word of the language and no value")
                },
                "here",
            )
            .help(help),
        )
    }

    fn unknown_item(&self) -> Option<Diagnostic> {
        let token = self.token()?;
        let word = self.found();
        let starts_line = token.line_start || self.expects(Rule::items);
        if token.kind != Kind::Word
            || !self.expects_item()
            || !starts_line
            || words::ITEMS.contains(&word)
        {
            return None;
        }
        let meant = FAMILIAR
            .iter()
            .find(|(familiar, _)| *familiar == word)
            .map(|(_, item)| *item)
            .or_else(|| nearest(word, words::ITEMS.iter().copied()));
        let help = match meant {
            Some(item) if self.next(1) != "=" || item == "loss" || item == "data" => {
                format!("did you mean `{item}`?")
            }
            _ if word == "forward" => "`forward` stands in a `module`".to_string(),
            _ if word == "knn" || word == "linear" => {
                format!("evaluators stand in `eval {{ {word}(…) }}`")
            }
            _ if self.next(1) == "=" => {
                format!("a definition starts with its keyword: `let {word} = …`")
            }
            _ => format!("an item starts with one of {}", words::ITEMS.join(", ")),
        };
        Some(
            self.error(
                codes::E0011,
                format!("no item starts with `{word}`"),
                "here",
            )
            .help(help),
        )
    }

    /// Help for what has no code of its own.
    pub(super) fn hint(&self) -> Option<String> {
        let found = self.found();
        let previous = self.previous_text();
        let hint = match found {
            "let" if self.in_bracket("{") => "a binding in a module has no `let`",
            _ if previous == "import" => "write the path in quotes: `import \"common.ssl\"`",
            "}" if self.expects(Rule::kw_let) => {
                "a block ends with the expression that is its value"
            }
            _ if self.expects(Rule::kw_in) || self.expects(Rule::colon) && self.in_bracket("[") => {
                "a list is made with `[for x in list: expression]`"
            }
            _ if previous == "." => "behind a `.` stands a name, as in `x.T`",
            "for" if self.in_bracket("[") => "a list is made with `[for x in list: expression]`",
            "if" if self.after_operand() => "a choice is written `if condition { a } else { b }`",
            "elif" | "elseif" | "elsif" => "write `else if condition { … }`",
            "then" => "a choice is written `if condition { a } else { b }`",
            "," if self.expects(Rule::equals) && self.keyword() == "let" => {
                "each value has a `let` of its own"
            }
            "=" if self.expects(Rule::open_paren) => {
                "a function is written `fn name(a, b) = expression`, a value `let name = expression`"
            }
            _ if previous == "return" => "a body has no `return`: its last expression is its value",
            "[" if self.expects(Rule::equals) && self.keyword() == "views" => {
                "each view has a name of its own: `views x1, x2 = …`"
            }
            ":" if self.in_bracket("[") => "a part of a tensor is written `x[a..b]`",
            "+" => "a number is written without `+`",
            "lambda" => "a function is written `fn name(x) = expression`",
            _ if self.expects(Rule::comma) && self.expects(Rule::close_paren) => {
                "a `,` stands between arguments"
            }
            _ if self.expects(Rule::comma) && self.expects(Rule::close_bracket) => {
                "a `,` stands between the values of a list"
            }
            _ if self.expects(Rule::open_brace) && self.expects(Rule::pipe) => {
                "the branches of `if` stand in braces: `if condition { a } else { b }`"
            }
            "," if self.in_bracket("(") => "a list is written in brackets: `[a, b]`",
            _ if previous == "=" => "the value stands behind the `=`",
            _ if self.expects(Rule::number) || self.expects(Rule::expr) => {
                "an operator has a value on both sides"
            }
            _ if self.after_operand() && self.expects(Rule::pipe) => {
                "an expression has ended before this: an operator is missing, or a line break and a keyword"
            }
            _ => return self.form().map(|form| format!("the form is `{form}`")),
        };
        Some(hint.to_string())
    }

    /// The form of the item.
    fn form(&self) -> Option<&'static str> {
        Some(match self.keyword() {
            "import" => "import \"path\" as name",
            "param" => "param name = literal",
            "data" => "data = source(…)",
            "views" => "views a, b = pipeline",
            "encoder" => "encoder f = module",
            "projector" => "projector g = module",
            "predictor" => "predictor q = module",
            "target" => "target f_t, g_t = ema(f, g, decay: …)",
            "module" => "module name(a, b = default) { child = module  forward(x) = expression }",
            "fn" => "fn name(a, b = default) = expression",
            "let" => "let name = expression",
            "loss" => "loss = expression",
            "watch" => "watch name = expression",
            "train" => "train { key = value  key  … }",
            "eval" => "eval { key = value  evaluator(…)  … }",
            _ => return None,
        })
    }
}
