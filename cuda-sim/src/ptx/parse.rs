//! From tokens to a [`Tree`]. Scopes end here: registers and variables of a body are numbers afterwards.
use super::lex::{Token, tokens};
use super::{Function, Operand, Refusal, Space, Tree, Variable};
use std::collections::HashMap;

/// Bytes of a variable in shared or local memory at most, far beyond what devices have.
pub const LARGEST: u32 = 1 << 24;

/// Parses a module.
pub fn parse(text: &str) -> Result<Tree, Refusal> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        tree: Tree::default(),
    };
    parser.module()?;
    Ok(parser.tree)
}

/// Bytes of a fundamental type such as `b32`.
pub fn type_size(name: &str) -> Option<u32> {
    Some(match name {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

#[derive(Clone, Copy)]
pub(super) enum Name {
    Register(u32),
    /// `%r<9>`: the first of the numbered registers, and how many.
    Range(u32, u32),
    Variable(u32),
}

pub(super) type Scopes = Vec<HashMap<String, Name>>;

pub(super) struct Parser<'a> {
    pub tokens: Vec<(Token<'a>, u32)>,
    pub at: usize,
    tree: Tree,
}

impl<'a> Parser<'a> {
    pub fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    pub fn line(&self) -> u32 {
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(1, |t| t.1)
    }

    pub fn take(&mut self) -> Result<Token<'a>, Refusal> {
        let token = self
            .peek()
            .ok_or_else(|| Refusal::new(self.line(), "the text ends too early"))?;
        self.at += 1;
        Ok(token)
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal::new(
            self.tokens
                .get(self.at.saturating_sub(1))
                .map_or(1, |t| t.1),
            message,
        ))
    }

    pub fn word(&mut self) -> Result<&'a str, Refusal> {
        match self.take()? {
            Token::Word(word) => Ok(word),
            other => self.fail(format!("expected a name, found {other:?}")),
        }
    }

    pub fn mark(&mut self, mark: u8) -> Result<(), Refusal> {
        match self.take()? {
            Token::Mark(found) if found == mark => Ok(()),
            other => self.fail(format!("expected `{}`, found {other:?}", mark as char)),
        }
    }

    pub fn accept(&mut self, mark: u8) -> bool {
        let found = self.peek() == Some(Token::Mark(mark));
        self.at += found as usize;
        found
    }

    pub fn skip_line(&mut self) {
        let line = self.tokens[self.at - 1].1;
        while self.tokens.get(self.at).is_some_and(|t| t.1 == line) {
            self.at += 1;
        }
    }

    fn module(&mut self) -> Result<(), Refusal> {
        let mut external = false;
        while self.peek().is_some() {
            match self.word()? {
                ".version" | ".target" | ".address_size" | ".file" => self.skip_line(),
                ".visible" | ".weak" | ".common" => {}
                ".extern" => external = true,
                ".entry" => {
                    self.function(true)?;
                    external = false;
                }
                ".func" => {
                    self.function(false)?;
                    external = false;
                }
                directive @ (".global" | ".const" | ".shared") => {
                    let space = space(directive).unwrap_or(Space::Global);
                    for variable in self.variables(space, external)? {
                        self.tree.variables.push(variable);
                    }
                    external = false;
                }
                other => return self.fail(format!("`{other}` is not supported at module level")),
            }
        }
        Ok(())
    }

    /// `.align 4 .b8 name[24] = {…}, …;` after its space.
    pub fn variables(&mut self, space: Space, external: bool) -> Result<Vec<Variable>, Refusal> {
        let (align, element) = self.shape()?;
        let mut found = vec![self.declarator(space, external, align, element)?];
        while self.accept(b',') {
            found.push(self.declarator(space, external, align, element)?);
        }
        self.mark(b';')?;
        Ok(found)
    }

    /// The alignment of a variable and the bytes of an element: `.align 4 .b8`.
    fn shape(&mut self) -> Result<(u32, u32), Refusal> {
        let (mut align, mut lanes) = (0, 1);
        loop {
            match self.word()? {
                ".align" => align = self.alignment()?,
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                other => {
                    let Some(element) = other.strip_prefix('.').and_then(type_size) else {
                        return self.fail(format!("`{other}` is not a supported type"));
                    };
                    // `.param .u64 .ptr .global .align 4 name`: of what is pointed to.
                    while let Some(Token::Word(word)) = self.peek() {
                        match word {
                            ".ptr" | ".global" | ".const" | ".shared" | ".local" => self.at += 1,
                            ".align" => {
                                self.at += 1;
                                self.alignment()?;
                            }
                            _ => break,
                        }
                    }
                    return Ok((
                        if align == 0 { element * lanes } else { align },
                        element * lanes,
                    ));
                }
            }
        }
    }

    fn alignment(&mut self) -> Result<u32, Refusal> {
        match self.number()? {
            align @ 1..=4096 if align.is_power_of_two() => Ok(align as u32),
            align => self.fail(format!("{align} is no alignment")),
        }
    }

    fn declarator(
        &mut self,
        space: Space,
        external: bool,
        align: u32,
        element: u32,
    ) -> Result<Variable, Refusal> {
        let line = self.line();
        let name = self.word()?.to_string();
        let mut size = element as u64;
        while self.accept(b'[') {
            if self.accept(b']') {
                size = 0;
                continue;
            }
            size = size.saturating_mul(self.number()?);
            self.mark(b']')?;
        }
        let mut initial = Vec::new();
        if self.accept(b'=') {
            self.initial(element, &mut initial)?;
            if initial.len() as u64 > size {
                return self.fail(format!("`{name}` has more initial values than elements"));
            }
        }
        let most = if matches!(space, Space::Global | Space::Const) {
            1 << 30
        } else {
            LARGEST
        };
        let Some(size) = u32::try_from(size).ok().filter(|&s| s <= most) else {
            return self.fail(format!("`{name}` is too large"));
        };
        Ok(Variable {
            name,
            space,
            align: align.max(1),
            size,
            external,
            initial,
            line,
        })
    }

    fn initial(&mut self, element: u32, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
        if self.accept(b'{') {
            loop {
                self.initial(element, bytes)?;
                if !self.accept(b',') {
                    return self.mark(b'}');
                }
            }
        }
        let value = match self.constant()? {
            Operand::Integer(value) => value,
            Operand::F32(bits) => bits as u64,
            Operand::F64(bits) => bits,
            _ => return self.fail("an initial value must be a number"),
        };
        let value = value.to_le_bytes();
        bytes.extend_from_slice(&value[..(element as usize).min(8)]);
        Ok(())
    }

    pub fn number(&mut self) -> Result<u64, Refusal> {
        match self.constant()? {
            Operand::Integer(value) => Ok(value),
            _ => self.fail("expected a whole number"),
        }
    }

    pub fn constant(&mut self) -> Result<Operand, Refusal> {
        let negative = self.accept(b'-');
        let word = self.word()?;
        let Some(value) = constant(word) else {
            return self.fail(format!("`{word}` is not a number"));
        };
        Ok(match value {
            Operand::Integer(value) if negative => Operand::Integer(value.wrapping_neg()),
            Operand::F32(bits) if negative => Operand::F32(bits ^ 1 << 31),
            Operand::F64(bits) if negative => Operand::F64(bits ^ 1 << 63),
            other => other,
        })
    }

    fn function(&mut self, entry: bool) -> Result<(), Refusal> {
        let mut function = Function {
            entry,
            ..Function::default()
        };
        let mut scopes: Scopes = vec![HashMap::new()];
        if !entry && self.accept(b'(') {
            function.returns = self.parameters(&mut function, &mut scopes)?;
        }
        function.name = self.word()?.to_string();
        if self.accept(b'(') {
            function.parameters = self.parameters(&mut function, &mut scopes)?;
        }
        loop {
            match self.take()? {
                Token::Mark(b';') => break,
                Token::Mark(b'{') => {
                    function.defined = true;
                    self.block(&mut function, &mut scopes)?;
                    break;
                }
                Token::Word(".maxntid" | ".reqntid") => {
                    let mut threads = self.number()?;
                    while self.accept(b',') {
                        threads = threads.saturating_mul(self.number()?);
                    }
                    function.max_threads = Some(threads.min(u32::MAX as u64) as u32);
                }
                Token::Word(".minnctapersm" | ".maxnreg") => {
                    self.number()?;
                }
                Token::Word(".noreturn") => {}
                other => {
                    return self.fail(format!(
                        "{other:?} is not supported in the head of a function"
                    ));
                }
            }
        }
        self.tree
            .functions
            .retain(|f| f.defined || f.name != function.name);
        if function.defined || !self.tree.functions.iter().any(|f| f.name == function.name) {
            self.tree.functions.push(function);
        }
        Ok(())
    }

    fn parameters(
        &mut self,
        function: &mut Function,
        scopes: &mut Scopes,
    ) -> Result<Vec<u32>, Refusal> {
        let mut found = Vec::new();
        if self.accept(b')') {
            return Ok(found);
        }
        loop {
            match self.word()? {
                ".param" => {
                    let (align, element) = self.shape()?;
                    let variable = self.declarator(Space::Param, false, align, element)?;
                    found.push(declare(function, scopes, variable));
                }
                other => return self.fail(format!("`{other}` is not supported as a parameter")),
            }
            if !self.accept(b',') {
                self.mark(b')')?;
                return Ok(found);
            }
        }
    }
}

pub(super) fn space(directive: &str) -> Option<Space> {
    Some(match directive {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Param,
        _ => return None,
    })
}

pub(super) fn declare(function: &mut Function, scopes: &mut Scopes, variable: Variable) -> u32 {
    let index = function.variables.len() as u32;
    if let Some(scope) = scopes.last_mut() {
        scope.insert(variable.name.clone(), Name::Variable(index));
    }
    function.variables.push(variable);
    index
}

/// A number as PTX writes it: `12`, `0x1F`, `0f3F800000`, `0d…`, `1.5`.
pub(super) fn constant(word: &str) -> Option<Operand> {
    if !word.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let digits = word.strip_suffix('U').unwrap_or(word);
    if let Some(hex) = digits.strip_prefix("0f").or(digits.strip_prefix("0F")) {
        return u32::from_str_radix(hex, 16).ok().map(Operand::F32);
    }
    if let Some(hex) = digits.strip_prefix("0d").or(digits.strip_prefix("0D")) {
        return u64::from_str_radix(hex, 16).ok().map(Operand::F64);
    }
    if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok().map(Operand::Integer);
    }
    if let Some(binary) = digits.strip_prefix("0b") {
        return u64::from_str_radix(binary, 2).ok().map(Operand::Integer);
    }
    if digits.contains('.') {
        return digits
            .parse::<f64>()
            .ok()
            .map(|v| Operand::F64(v.to_bits()));
    }
    digits.parse::<u64>().ok().map(Operand::Integer)
}
