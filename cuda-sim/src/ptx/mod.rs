//! PTX as text: [`lex`] makes tokens, [`parse`] makes a tree with registers and variables resolved, [`body`] that of functions.
pub mod body;
pub mod lex;
pub mod parse;

/// What is wrong with a text, and in which line.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub line: u32,
    pub message: String,
}

impl Refusal {
    pub fn new(line: u32, message: impl Into<String>) -> Self {
        Refusal {
            line,
            message: message.into(),
        }
    }
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Predicate,
    B16,
    B32,
    B64,
}

/// Where a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// A variable of the module or of a function.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: String,
    pub space: Space,
    pub align: u32,
    /// Bytes; 0 for an `extern` array, whose size the launch says.
    pub size: u32,
    pub external: bool,
    /// Initial bytes; none: zeros in `global` and `const` space.
    pub initial: Vec<u8>,
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// An index into [`Function::registers`].
    Register(u32),
    /// `%tid.x` and the like.
    Special(String),
    /// An index into [`Function::variables`], and bytes from its start.
    Local(u32, i64),
    /// A name of the module or a label, and bytes from its start.
    Symbol(String, i64),
    /// Two's complement in 64 bits.
    Integer(u64),
    F32(u32),
    F64(u64),
    Vector(Vec<Operand>),
    Address(Box<Operand>, i64),
    /// `a|b`
    Pair(Box<Operand>, Box<Operand>),
    Not(Box<Operand>),
    /// `_`
    Sink,
    /// `(a, b)` of a call.
    List(Vec<Operand>),
}

#[derive(Clone, Debug)]
pub struct Instruction {
    pub line: u32,
    /// The predicate, and whether it is negated.
    pub guard: Option<(u32, bool)>,
    pub opcode: String,
    pub operands: Vec<Operand>,
}

#[derive(Clone, Debug)]
pub enum Statement {
    Label(String),
    Instruction(Instruction),
    /// Targets of a `brx.idx`.
    Targets(String, Vec<String>),
}

#[derive(Clone, Debug, Default)]
pub struct Function {
    pub name: String,
    pub entry: bool,
    /// Indices into `variables`.
    pub parameters: Vec<u32>,
    pub returns: Vec<u32>,
    pub registers: Vec<Width>,
    pub variables: Vec<Variable>,
    pub body: Vec<Statement>,
    /// Threads of a block at most, by `.maxntid` or `.reqntid`.
    pub max_threads: Option<u32>,
    /// Whether it has a body.
    pub defined: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
}
