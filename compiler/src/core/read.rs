//! Reading the text of a graph. The result may still break the rules of `core`: [`super::verify`] tells.

use super::graph::{Attr, Attrs, DType, Graph, Node, Type, ValueId};
use super::ops::{self, AttrKind, Op};
use std::collections::HashMap;
use std::fmt;

/// Why a text is not a graph: the line, counted from 1, and one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// The graph that a text is the form of. Values may be numbered in any way; empty lines and lines of comment are skipped.
pub fn read(text: &str) -> Result<Graph, ReadError> {
    let mut graph = Graph::default();
    let mut defined = HashMap::new();
    for (i, line) in text.lines().enumerate() {
        let line_is_empty = line.trim().is_empty() || line.trim_start().starts_with("//");
        if line_is_empty {
            continue;
        }
        let mut cursor = Cursor { rest: line };
        cursor
            .line(&mut graph, &mut defined)
            .map_err(|message| ReadError {
                line: i + 1,
                message,
            })?;
    }
    Ok(graph)
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn line(
        &mut self,
        graph: &mut Graph,
        defined: &mut HashMap<u32, ValueId>,
    ) -> Result<(), String> {
        if self.take("output") {
            let name = self.string()?;
            self.expect("=")?;
            let id = self.value(defined)?;
            graph.outputs.push((name, id));
            return self.end();
        }
        let number = self.number_of_value()?;
        self.expect("=")?;
        let op = self.op()?;
        let attrs = self.attrs(op)?;
        let mut args = Vec::new();
        self.expect("(")?;
        if !self.take(")") {
            loop {
                args.push(self.value(defined)?);
                if self.take(")") {
                    break;
                }
                self.expect(",")?;
            }
        }
        self.expect(":")?;
        let ty = self.ty()?;
        let name = self.name()?;
        let id = ValueId(graph.nodes.len() as u32);
        if defined.insert(number, id).is_some() {
            return Err(format!("%{number} is defined twice"));
        }
        graph.nodes.push(Node {
            op,
            attrs,
            args,
            ty,
            name,
            origin: None,
        });
        Ok(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Goes past `token` if it comes next.
    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) {
            return Ok(());
        }
        Err(format!("`{token}` is missing {}", self.place()))
    }

    fn place(&self) -> String {
        match self.rest.chars().next() {
            None => "at the end of the line".to_string(),
            Some(_) => format!(
                "before `{}`",
                self.rest.chars().take(20).collect::<String>()
            ),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.skip_space();
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(format!("the line goes on {}", self.place()))
    }

    /// The longest run of characters that `belongs` accepts; it may be empty.
    fn run(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        self.skip_space();
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    fn word(&mut self) -> &'a str {
        self.run(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn number_of_value(&mut self) -> Result<u32, String> {
        self.expect("%")?;
        let digits = self.run(|c| c.is_ascii_digit());
        digits
            .parse()
            .map_err(|_| format!("`%{digits}` is not a value"))
    }

    fn value(&mut self, defined: &HashMap<u32, ValueId>) -> Result<ValueId, String> {
        let number = self.number_of_value()?;
        defined
            .get(&number)
            .copied()
            .ok_or_else(|| format!("%{number} is used before it is defined"))
    }

    fn op(&mut self) -> Result<Op, String> {
        let name = self.word();
        ops::find(name).ok_or_else(|| format!("there is no op `{name}`"))
    }

    fn attrs(&mut self, op: Op) -> Result<Attrs, String> {
        let mut given = Vec::new();
        if self.take("[") {
            loop {
                let name = self.word();
                let def = op
                    .attrs
                    .iter()
                    .find(|a| a.name == name)
                    .ok_or_else(|| format!("`{}` has no attribute `{name}`", op.name))?;
                self.expect("=")?;
                given.push((def.name, self.attr(def.kind)?));
                if self.take("]") {
                    break;
                }
                self.expect(",")?;
            }
        }
        op.check_attrs(given).map_err(|e| e.message)
    }

    fn attr(&mut self, kind: AttrKind) -> Result<Attr, String> {
        match kind {
            AttrKind::Bool => match self.word() {
                "true" => Ok(Attr::Bool(true)),
                "false" => Ok(Attr::Bool(false)),
                other => Err(format!("`{other}` is neither true nor false")),
            },
            AttrKind::Int => Ok(Attr::Int(self.int()?)),
            AttrKind::Float => {
                let text = self.run(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                let value = text
                    .parse()
                    .map_err(|_| format!("`{text}` is not a number"))?;
                Ok(Attr::Float(value))
            }
            AttrKind::Str => Ok(Attr::Str(self.string()?)),
            AttrKind::Ints => Ok(Attr::Ints(self.list(Self::int)?)),
        }
    }

    fn int(&mut self) -> Result<i64, String> {
        let text = self.run(|c| c.is_ascii_digit() || c == '-');
        if text.is_empty() {
            return Err(format!("an integer is missing {}", self.place()));
        }
        text.parse()
            .map_err(|_| format!("`{text}` is not an integer"))
    }

    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        self.expect("[")?;
        let mut items = Vec::new();
        if self.take("]") {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.take("]") {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    /// A string in quotes, with JSON's escapes.
    fn string(&mut self) -> Result<String, String> {
        self.skip_space();
        let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        match strings.next() {
            Some(Ok(text)) => {
                self.rest = &self.rest[strings.byte_offset()..];
                Ok(text)
            }
            _ => Err(format!("a string in quotes is missing {}", self.place())),
        }
    }

    fn ty(&mut self) -> Result<Type, String> {
        let name = self.word();
        let dtype =
            DType::from_name(name).ok_or_else(|| format!("there is no element type `{name}`"))?;
        let shape = self.list(|cursor| {
            let size = cursor.int()?;
            usize::try_from(size).map_err(|_| format!("{size} is not a size"))
        })?;
        Ok(Type { dtype, shape })
    }

    fn name(&mut self) -> Result<Option<String>, String> {
        if !self.take("//") {
            self.end()?;
            return Ok(None);
        }
        self.skip_space();
        if self.rest.starts_with('"') {
            let name = self.string()?;
            self.end()?;
            return Ok(Some(name));
        }
        let name = self.rest.trim_end();
        Ok((!name.is_empty()).then(|| name.to_string()))
    }
}
