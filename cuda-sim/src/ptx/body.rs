//! Bodies of functions: statements and operands.
use super::lex::Token;
use super::parse::{Name, Parser, Scopes, constant, declare, space, type_size};
use super::{Function, Instruction, Operand, Refusal, Space, Statement, Width};
use std::collections::HashMap;

impl Parser<'_> {
    pub fn block(&mut self, function: &mut Function, scopes: &mut Scopes) -> Result<(), Refusal> {
        scopes.push(HashMap::new());
        loop {
            match self.take()? {
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
                    self.take()?;
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
            if first > 1 << 20 {
                return self.fail("too many registers");
            }
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
