//! Programs made from bytes: each byte is a choice, so that proptest can shrink what fails. When the bytes run out
//! the simplest choice is taken.

pub struct Gen<'b> {
    bytes: &'b [u8],
    pos: usize,
    out: String,
    depth: usize,
}

const NAMES: &[&str] = &["x", "f", "loss_a", "T", "conv1", "bias", "order", "index"];
const WORDS: &[&str] = &["p", "scale", "data", "if", "loss", "train", "every"];

/// A program, with white space and comments in all places that allow them.
pub fn program(bytes: &[u8]) -> String {
    let mut g = Gen {
        bytes,
        pos: 0,
        out: String::new(),
        depth: 0,
    };
    let items = 1 + g.pick(5);
    for _ in 0..items {
        g.item();
        if g.pick(6) == 1 {
            g.word(";");
        }
        g.word("\n");
        g.space();
    }
    g.out
}

impl Gen<'_> {
    fn pick(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.pos).copied().unwrap_or(0);
        self.pos += 1;
        usize::from(byte) % n
    }

    fn word(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// White space that may be missing.
    fn space(&mut self) {
        let space = match self.pick(24) {
            1 | 2 => "\n",
            3 => "\n\n\n",
            4 => "   ",
            5 => " # end of line\n",
            6 => "\n# own line\n  ",
            7 => "\n\n    # apart\n\n",
            8 => "\t",
            9 => "\r\n",
            10..=16 => "",
            _ => " ",
        };
        self.word(space);
    }

    /// White space that has to be there.
    fn gap(&mut self) {
        self.word(" ");
        self.space();
    }

    fn name(&mut self) {
        let name = NAMES[self.pick(NAMES.len())];
        self.word(name);
    }

    fn tokens(&mut self, tokens: &[&str]) {
        for token in tokens {
            self.word(token);
            self.space();
        }
    }

    fn equals(&mut self) {
        self.space();
        self.tokens(&["="]);
        self.expr();
    }

    fn item(&mut self) {
        match self.pick(12) {
            0 | 1 => {
                self.word("let");
                self.gap();
                self.name();
                self.equals();
            }
            2 => {
                self.word("views");
                self.gap();
                self.name();
                self.space();
                self.tokens(&[",", "other"]);
                self.equals();
            }
            3 => {
                self.word("loss");
                self.equals();
            }
            4 => {
                self.word("import");
                self.space();
                self.word("\"a b.ssl\"");
                if self.pick(2) == 1 {
                    self.space();
                    self.word("as");
                    self.gap();
                    self.name();
                }
            }
            5 | 6 => {
                self.word("fn");
                self.gap();
                self.name();
                self.parameters();
                if self.pick(2) == 1 {
                    self.block();
                } else {
                    self.equals();
                }
            }
            7 | 8 => self.settings(),
            9 | 10 => self.module(),
            _ => {
                self.word("encoder");
                self.gap();
                self.name();
                self.equals();
            }
        }
    }

    fn parameters(&mut self) {
        self.space();
        self.tokens(&["("]);
        for i in 0..self.pick(4) {
            if i > 0 {
                self.tokens(&[","]);
            }
            let name = format!("a{i}");
            self.word(&name);
            if self.pick(3) == 1 {
                self.equals();
            }
            self.space();
        }
        self.tokens(&[")"]);
    }

    fn separator(&mut self) {
        // Without a sign, a line break keeps the next entry from being read as a part of this one.
        match self.pick(4) {
            1 => self.word(";"),
            2 => self.word(","),
            _ => self.word("\n"),
        }
        self.space();
    }

    fn settings(&mut self) {
        let keyword = ["train", "eval"][self.pick(2)];
        self.word(keyword);
        self.space();
        self.tokens(&["{"]);
        for i in 0..self.pick(5) {
            match self.pick(4) {
                0 | 1 => {
                    let key = format!("key{i}");
                    self.word(&key);
                }
                2 => {
                    let key = ["loss", "data", "if", "seed", "for"][i];
                    self.word(key);
                    self.equals();
                }
                _ => {
                    self.word("knn");
                    self.arguments();
                }
            }
            self.separator();
        }
        self.word("}");
    }

    fn module(&mut self) {
        self.word("module");
        self.gap();
        self.name();
        self.parameters();
        self.tokens(&["{"]);
        let members = self.pick(4);
        let forward = self.pick(members + 1);
        for i in 0..=members {
            if i == forward {
                self.word("forward");
                self.space();
                self.tokens(&["(", "x"]);
                if self.pick(2) == 1 {
                    self.tokens(&[",", "y"]);
                }
                self.tokens(&[")"]);
                if self.pick(2) == 1 {
                    self.block();
                } else {
                    self.equals();
                }
            } else {
                let name = format!("child{i}");
                self.word(&name);
                self.equals();
            }
            self.separator();
        }
        self.word("}");
    }

    fn block(&mut self) {
        self.space();
        self.tokens(&["{"]);
        for _ in 0..self.pick(3) {
            self.word("let");
            self.gap();
            self.name();
            self.equals();
            // Behind a bare line break `- x` would go on with the value before.
            self.tokens(&[";"]);
        }
        self.expr();
        self.space();
        self.word("}");
    }

    fn expr(&mut self) {
        self.depth += 1;
        let level = if self.depth > 6 { 9 } else { self.pick(16) };
        match level {
            1 => self.joined(&["|>"], Self::disjunction),
            2 => self.disjunction(),
            3 => self.comparison(),
            4 => self.range(),
            5..=7 => self.sum(),
            8 => self.product(),
            10 => self.word("12"),
            11 => self.call(),
            12 => self.joined(&["|>"], Self::call),
            _ => self.name(),
        }
        self.depth -= 1;
    }

    fn joined(&mut self, ops: &[&str], operand: fn(&mut Self)) {
        operand(self);
        for _ in 0..self.pick(4) {
            self.space();
            self.word(" ");
            let op = ops[self.pick(ops.len())];
            self.word(op);
            self.gap();
            operand(self);
        }
    }

    fn disjunction(&mut self) {
        self.joined(&["or"], |g| g.joined(&["and"], Self::negation));
    }

    fn negation(&mut self) {
        for _ in 0..self.pick(4).saturating_sub(1) {
            self.word("not");
            self.gap();
        }
        self.comparison();
    }

    fn comparison(&mut self) {
        self.range();
        if self.pick(3) == 1 {
            let op = ["==", "!=", "<", "<=", ">", ">="][self.pick(6)];
            self.space();
            self.word(op);
            self.space();
            self.range();
        }
    }

    fn range(&mut self) {
        self.sum();
        if self.pick(4) == 1 {
            self.space();
            self.tokens(&[".."]);
            self.sum();
        }
    }

    fn sum(&mut self) {
        self.joined(&["+", "-"], Self::product);
    }

    fn product(&mut self) {
        self.joined(&["*", "/", "@"], Self::unary);
    }

    fn unary(&mut self) {
        for _ in 0..self.pick(4).saturating_sub(1) {
            self.word("-");
            self.space();
        }
        self.postfix();
        for _ in 0..self.pick(5).saturating_sub(3) {
            self.space();
            self.word("^");
            self.space();
            if self.pick(3) == 1 {
                self.word("-");
                self.space();
            }
            self.postfix();
        }
    }

    fn call(&mut self) {
        self.name();
        self.arguments();
    }

    fn postfix(&mut self) {
        self.primary();
        for _ in 0..self.pick(4).saturating_sub(2) {
            match self.pick(4) {
                0 | 1 => self.arguments(),
                2 => {
                    self.tokens(&["["]);
                    self.expr();
                    self.space();
                    self.word("]");
                }
                _ => {
                    self.space();
                    let field = [" .T", " .loss", " .conv1"][self.pick(3)];
                    self.word(field);
                }
            }
        }
    }

    fn arguments(&mut self) {
        self.word("(");
        self.space();
        let count = self.pick(5);
        let named = self.pick(count + 1);
        for (i, word) in WORDS.iter().enumerate().take(count) {
            if i >= named {
                self.word(word);
                self.space();
                self.tokens(&[":"]);
            }
            self.expr();
            self.space();
            if i + 1 < count || self.pick(4) == 1 {
                self.tokens(&[","]);
            }
        }
        self.word(")");
    }

    fn primary(&mut self) {
        if self.depth > 6 {
            return self.name();
        }
        self.depth += 1;
        match self.pick(14) {
            1 => self.word("0.5"),
            2 => self.word("5e-4"),
            3 => self.word("\"a # b \\\" \\\\ c\""),
            4 => self.word("true"),
            5 | 6 => {
                self.tokens(&["("]);
                self.expr();
                self.space();
                self.word(")");
            }
            7 => {
                self.tokens(&["["]);
                for _ in 0..self.pick(4) {
                    self.expr();
                    self.space();
                    self.tokens(&[","]);
                }
                self.word("]");
            }
            8 => {
                self.word("[");
                self.space();
                self.word("for");
                self.gap();
                self.name();
                self.gap();
                self.word("in");
                self.gap();
                self.expr();
                self.space();
                self.tokens(&[":"]);
                self.expr();
                self.space();
                self.word("]");
            }
            9 | 10 => self.choice(),
            _ => self.name(),
        }
        self.depth -= 1;
    }

    fn choice(&mut self) {
        self.word("if");
        self.gap();
        self.condition();
        self.block();
        for _ in 0..self.pick(3).saturating_sub(1) {
            self.space();
            self.word("else");
            self.gap();
            self.word("if");
            self.gap();
            self.condition();
            self.block();
        }
        if self.pick(3) > 0 {
            self.space();
            self.word("else");
            self.block();
        }
    }

    /// In parentheses, since an `if` may stand in it.
    fn condition(&mut self) {
        self.tokens(&["("]);
        self.expr();
        self.space();
        self.word(")");
    }
}
