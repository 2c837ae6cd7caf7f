//! From tokens to a [`Tree`]. Scopes end here: registers and variables of a body are numbers afterwards.
use super::lex::{Token, tokens};
use super::{Function, Instruction, Operand, Refusal, Space, Statement, Tree, Variable, Width};
use std::collections::HashMap;

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
enum Name {
    Register(u32),
    /// `%r<9>`: the first of the numbered registers, and how many.
    Range(u32, u32),
    Variable(u32),
}

type Scopes = Vec<HashMap<String, Name>>;

struct Parser<'a> {
    tokens: Vec<(Token<'a>, u32)>,
    at: usize,
    tree: Tree,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    fn line(&self) -> u32 {
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(1, |t| t.1)
    }

    fn next(&mut self) -> Result<Token<'a>, Refusal> {
        let token = self
            .peek()
            .ok_or_else(|| Refusal::new(self.line(), "the text ends too early"))?;
        self.at += 1;
        Ok(token)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal::new(
            self.tokens
                .get(self.at.saturating_sub(1))
                .map_or(1, |t| t.1),
            message,
        ))
    }

    fn word(&mut self) -> Result<&'a str, Refusal> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            other => self.fail(format!("expected a name, found {other:?}")),
        }
    }

    fn mark(&mut self, mark: u8) -> Result<(), Refusal> {
        match self.next()? {
            Token::Mark(found) if found == mark => Ok(()),
            other => self.fail(format!("expected `{}`, found {other:?}", mark as char)),
        }
    }

    fn accept(&mut self, mark: u8) -> bool {
        let found = self.peek() == Some(Token::Mark(mark));
        self.at += found as usize;
        found
    }

    fn skip_line(&mut self) {
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
    fn variables(&mut self, space: Space, external: bool) -> Result<Vec<Variable>, Refusal> {
        let mut found = vec![self.variable(space, external)?];
        while self.accept(b',') {
            let Some(first) = found.first() else { break };
            let (align, element) = (first.align, first.align.max(1));
            found.push(self.declarator(space, external, align, element)?);
        }
        self.mark(b';')?;
        Ok(found)
    }

    fn variable(&mut self, space: Space, external: bool) -> Result<Variable, Refusal> {
        let (mut align, mut lanes) = (0, 1);
        loop {
            match self.word()? {
                ".align" => align = self.number()? as u32,
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".ptr" | ".global" | ".const" | ".shared" | ".local" => {}
                other => {
                    let Some(element) = other.strip_prefix('.').and_then(type_size) else {
                        return self.fail(format!("`{other}` is not a supported type"));
                    };
                    // `.param .u64 .ptr .global .align 4 name`
                    while let Some(Token::Word(word)) = self.peek() {
                        match word {
                            ".ptr" | ".global" | ".const" | ".shared" | ".local" => self.at += 1,
                            ".align" => {
                                self.at += 1;
                                self.number()?;
                            }
                            _ => break,
                        }
                    }
                    let align = if align == 0 { element * lanes } else { align };
                    return self.declarator(space, external, align, element * lanes);
                }
            }
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
        let Ok(size) = u32::try_from(size) else {
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

    fn number(&mut self) -> Result<u64, Refusal> {
        match self.constant()? {
            Operand::Integer(value) => Ok(value),
            _ => self.fail("expected a whole number"),
        }
    }

    fn constant(&mut self) -> Result<Operand, Refusal> {
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
            match self.next()? {
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
                    let variable = self.variable(Space::Param, false)?;
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

    fn block(&mut self, function: &mut Function, scopes: &mut Scopes) -> Result<(), Refusal> {
        scopes.push(HashMap::new());
        loop {
            match self.next()? {
                Token::Mark(b'}') => break,
                Token::Mark(b'{') => self.block(function, scopes)?,
                Token::Mark(b';') => {}
                Token::Mark(b'@') => {
                    let negated = self.accept(b'!');
                    let name = self.word()?;
                    let Some(Name::Register(register)) = resolve(scopes, name) else {
                        return self.fail(format!("the predicate `{name}` is not declared"));
                    };
                    let opcode = self.word()?;
                    self.instruction(function, scopes, opcode, Some((register, negated)))?;
                }
                Token::Word(".reg") => self.registers(function, scopes)?,
                Token::Word(directive @ (".local" | ".shared" | ".param")) => {
                    let space = space(directive).unwrap_or(Space::Local);
                    for variable in self.variables(space, false)? {
                        declare(function, scopes, variable);
                    }
                }
                Token::Word(".pragma") => {
                    self.next()?;
                    self.mark(b';')?;
                }
                Token::Word(".loc") => self.skip_line(),
                Token::Word(word) if self.accept(b':') => {
                    if self.peek() == Some(Token::Word(".branchtargets")) {
                        self.at += 1;
                        let mut targets = vec![self.word()?.to_string()];
                        while self.accept(b',') {
                            targets.push(self.word()?.to_string());
                        }
                        self.mark(b';')?;
                        function
                            .body
                            .push(Statement::Targets(word.to_string(), targets));
                    } else {
                        function.body.push(Statement::Label(word.to_string()));
                    }
                }
                Token::Word(word) if !word.starts_with('.') => {
                    self.instruction(function, scopes, word, None)?
                }
                other => return self.fail(format!("{other:?} is not supported in a body")),
            }
        }
        scopes.pop();
        Ok(())
    }

    fn registers(&mut self, function: &mut Function, scopes: &mut Scopes) -> Result<(), Refusal> {
        let kind = self.word()?;
        let width = match kind {
            ".pred" => Width::Predicate,
            _ => match kind.strip_prefix('.').and_then(type_size) {
                Some(1 | 2) => Width::B16,
                Some(4) => Width::B32,
                Some(8) => Width::B64,
                _ => return self.fail(format!("registers of type `{kind}` are not supported")),
            },
        };
        loop {
            let name = self.word()?.to_string();
            let first = function.registers.len() as u32;
            let name_is = if self.accept(b'<') {
                let count = self.number()?.min(1 << 20) as u32;
                self.mark(b'>')?;
                function.registers.resize((first + count) as usize, width);
                Name::Range(first, count)
            } else {
                function.registers.push(width);
                Name::Register(first)
            };
            if let Some(scope) = scopes.last_mut() {
                scope.insert(name, name_is);
            }
            if !self.accept(b',') {
                return self.mark(b';');
            }
        }
    }

    fn instruction(
        &mut self,
        function: &mut Function,
        scopes: &Scopes,
        opcode: &str,
        guard: Option<(u32, bool)>,
    ) -> Result<(), Refusal> {
        let line = self.tokens[self.at - 1].1;
        let mut operands = Vec::new();
        if !self.accept(b';') {
            loop {
                operands.push(self.operand(scopes)?);
                if !self.accept(b',') {
                    break;
                }
            }
            self.mark(b';')?;
        }
        let opcode = opcode.to_string();
        function.body.push(Statement::Instruction(Instruction {
            line,
            guard,
            opcode,
            operands,
        }));
        Ok(())
    }

    fn operand(&mut self, scopes: &Scopes) -> Result<Operand, Refusal> {
        let first = self.simple(scopes)?;
        if self.accept(b'|') {
            let second = self.simple(scopes)?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn simple(&mut self, scopes: &Scopes) -> Result<Operand, Refusal> {
        match self.peek() {
            Some(Token::Mark(b'{')) => {
                self.at += 1;
                Ok(Operand::Vector(self.list(scopes, b'}')?))
            }
            Some(Token::Mark(b'(')) => {
                self.at += 1;
                Ok(Operand::List(self.list(scopes, b')')?))
            }
            Some(Token::Mark(b'[')) => {
                self.at += 1;
                let base = self.simple(scopes)?;
                self.mark(b']')?;
                Ok(match base {
                    Operand::Local(variable, offset) => {
                        Operand::Address(Box::new(Operand::Local(variable, 0)), offset)
                    }
                    Operand::Symbol(name, offset) => {
                        Operand::Address(Box::new(Operand::Symbol(name, 0)), offset)
                    }
                    address @ Operand::Address(..) => address,
                    other => Operand::Address(Box::new(other), 0),
                })
            }
            Some(Token::Mark(b'!')) => {
                self.at += 1;
                Ok(Operand::Not(Box::new(self.simple(scopes)?)))
            }
            Some(Token::Mark(b'-')) => self.constant(),
            Some(Token::Word("_")) => {
                self.at += 1;
                Ok(Operand::Sink)
            }
            Some(Token::Word(word)) => {
                self.at += 1;
                if let Some(value) = constant(word) {
                    return Ok(value);
                }
                let named = match resolve(scopes, word) {
                    Some(Name::Register(register)) => Operand::Register(register),
                    Some(Name::Variable(variable)) => Operand::Local(variable, 0),
                    Some(Name::Range(..)) => {
                        return self.fail(format!("`{word}` is a range of registers"));
                    }
                    None if word.starts_with('%') => Operand::Special(word.to_string()),
                    None => Operand::Symbol(word.to_string(), 0),
                };
                let mut offset = 0i64;
                while let Some(Token::Mark(sign @ (b'+' | b'-'))) = self.peek() {
                    self.at += 1;
                    let value = self.number()? as i64;
                    offset = offset.wrapping_add(if sign == b'-' {
                        value.wrapping_neg()
                    } else {
                        value
                    });
                }
                Ok(match named {
                    Operand::Local(variable, _) => Operand::Local(variable, offset),
                    Operand::Symbol(name, _) => Operand::Symbol(name, offset),
                    other if offset == 0 => other,
                    other => Operand::Address(Box::new(other), offset),
                })
            }
            other => self.fail(format!("expected an operand, found {other:?}")),
        }
    }

    fn list(&mut self, scopes: &Scopes, end: u8) -> Result<Vec<Operand>, Refusal> {
        let mut found = Vec::new();
        if self.accept(end) {
            return Ok(found);
        }
        loop {
            found.push(self.simple(scopes)?);
            if !self.accept(b',') {
                self.mark(end)?;
                return Ok(found);
            }
        }
    }
}

fn space(directive: &str) -> Option<Space> {
    Some(match directive {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Param,
        _ => return None,
    })
}

fn declare(function: &mut Function, scopes: &mut Scopes, variable: Variable) -> u32 {
    let index = function.variables.len() as u32;
    if let Some(scope) = scopes.last_mut() {
        scope.insert(variable.name.clone(), Name::Variable(index));
    }
    function.variables.push(variable);
    index
}

fn resolve(scopes: &Scopes, name: &str) -> Option<Name> {
    let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[prefix.len()..].parse::<u32>().ok();
    for scope in scopes.iter().rev() {
        if let Some(&found) = scope.get(name) {
            return Some(found);
        }
        if let (Some(&Name::Range(first, count)), Some(number)) = (scope.get(prefix), number)
            && number < count
        {
            return Some(Name::Register(first + number));
        }
    }
    None
}

/// A number as PTX writes it: `12`, `0x1F`, `0f3F800000`, `0d…`, `1.5`.
fn constant(word: &str) -> Option<Operand> {
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
