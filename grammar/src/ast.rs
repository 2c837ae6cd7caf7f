//! The syntax tree: what was written, with a span on every node and the comments kept.
//!
//! Chains (`a + b + c`, `x |> f |> g`, `f(x)(y).T`, `- - x`, `else if`) are lists, never nested nodes, so that the
//! depth of a tree is the depth of its brackets, which the parser bounds by [`MAX_DEPTH`].

pub use crate::print::print;
use crate::span::Span;
use serde::Serialize;

/// How deep brackets and blocks may nest.
pub const MAX_DEPTH: usize = 200;

/// One parsed file.
#[derive(Clone, Debug, Serialize)]
pub struct File {
    pub items: Vec<Item>,
    /// Every comment of the file in order of place, the `#` included.
    pub comments: Vec<Comment>,
    pub span: Span,
}

#[derive(Clone, Debug, Serialize)]
pub struct Comment {
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ident {
    pub name: String,
    pub span: Span,
}

#[derive(Clone, Debug, Serialize)]
pub struct Item {
    pub kind: ItemKind,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Encoder,
    Projector,
    Predictor,
}

#[derive(Clone, Debug, Serialize)]
pub enum ItemKind {
    /// `import "path"` or `import "path" as alias`
    Import {
        path: String,
        path_span: Span,
        alias: Option<Ident>,
    },
    /// `param name = literal`
    Param {
        name: Ident,
        value: Expr,
    },
    /// `data = source(...)`
    Data {
        value: Expr,
    },
    /// `views a, b = pipeline`
    Views {
        names: Vec<Ident>,
        value: Expr,
    },
    /// `encoder f = module-expression`, `projector …`, `predictor …`
    Network {
        role: Role,
        name: Ident,
        value: Expr,
    },
    /// `target f_t, g_t = ema(f, g, decay: schedule)`
    Target {
        names: Vec<Ident>,
        value: Expr,
    },
    /// `module name(params) { bindings forward(x) = expr }`
    Module(Module),
    /// `fn name(params) = expr` or `fn name(params) { let … expr }`
    Fn(Function),
    Let {
        name: Ident,
        value: Expr,
    },
    /// `loss = expr`
    Loss {
        keyword: Span,
        value: Expr,
    },
    Watch {
        name: Ident,
        value: Expr,
    },
    Train {
        keyword: Span,
        entries: Vec<Entry>,
    },
    Eval {
        keyword: Span,
        entries: Vec<Entry>,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct Module {
    pub name: Ident,
    pub params: Vec<Parameter>,
    pub bindings: Vec<Binding>,
    pub forward: Forward,
}

#[derive(Clone, Debug, Serialize)]
pub struct Forward {
    pub params: Vec<Ident>,
    pub body: Block,
    pub span: Span,
}

#[derive(Clone, Debug, Serialize)]
pub struct Function {
    pub name: Ident,
    pub params: Vec<Parameter>,
    pub body: Block,
}

/// A parameter of a `fn` or `module`, with its default.
#[derive(Clone, Debug, Serialize)]
pub struct Parameter {
    pub name: Ident,
    pub default: Option<Expr>,
}

/// `name = expr` in a module.
#[derive(Clone, Debug, Serialize)]
pub struct Binding {
    pub name: Ident,
    pub value: Expr,
}

/// `let … expr`: what stands between braces, or after the `=` of a `fn` (then without lets and `braces: false`).
#[derive(Clone, Debug, Serialize)]
pub struct Block {
    pub lets: Vec<Binding>,
    pub value: Box<Expr>,
    pub braces: bool,
    pub span: Span,
}

/// An entry of a `train` or `eval` block.
#[derive(Clone, Debug, Serialize)]
pub enum Entry {
    /// `key = expr`
    Set { key: Ident, value: Expr },
    /// A bare `key`, which means `key = key`.
    Bare { key: Ident },
    /// An evaluator: `knn(k: 200, …)`; the expression is a call.
    Evaluator { call: Expr },
}

#[derive(Clone, Debug, Serialize)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug, Serialize)]
pub enum ExprKind {
    /// An integer; the parser rejects what does not fit.
    Int(i64),
    Float(f64),
    Str(String),
    Bool(bool),
    Name(String),
    List(Vec<Expr>),
    /// `[for x in list: expr]`
    Comprehension {
        var: Ident,
        list: Box<Expr>,
        body: Box<Expr>,
    },
    /// `(expr)`; kept so that the formatter does not change what was grouped.
    Paren(Box<Expr>),
    /// A run of prefix operators, outermost first.
    Unary {
        ops: Vec<(UnaryOp, Span)>,
        operand: Box<Expr>,
    },
    /// Operators of one precedence level, applied left to right.
    Chain {
        first: Box<Expr>,
        rest: Vec<ChainLink>,
    },
    /// `a ^ b ^ -c`, applied right to left; one exponent or more. The signs of an exponent apply to the whole power
    /// that begins behind them: `2 ^ -x ^ 2` is `2 ^ (-(x ^ 2))`.
    Power {
        base: Box<Expr>,
        exponents: Vec<Exponent>,
    },
    Compare {
        op: CompareOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `a..b`
    Range {
        from: Box<Expr>,
        to: Box<Expr>,
    },
    /// `x |> f |> g(b)`
    Pipe {
        first: Box<Expr>,
        stages: Vec<Expr>,
    },
    /// Calls, indices, fields and `.T` after a base, in the order written.
    Postfix {
        base: Box<Expr>,
        ops: Vec<Postfix>,
    },
    /// `if c { a } else if d { b } else { e }`
    If {
        branches: Vec<(Expr, Block)>,
        otherwise: Option<Block>,
    },
}

/// One exponent of a power, with the `-` signs before it.
#[derive(Clone, Debug, Serialize)]
pub struct Exponent {
    pub signs: Vec<Span>,
    pub operand: Expr,
}

#[derive(Clone, Debug, Serialize)]
pub struct ChainLink {
    pub op: ChainOp,
    pub op_span: Span,
    pub operand: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum UnaryOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ChainOp {
    Or,
    And,
    Add,
    Sub,
    Mul,
    Div,
    MatMul,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Debug, Serialize)]
pub struct Postfix {
    pub kind: PostfixKind,
    pub span: Span,
}

#[derive(Clone, Debug, Serialize)]
pub enum PostfixKind {
    Call(Vec<Arg>),
    /// `x[i]` or `x[a..b]`; the index is any expression, a range among them.
    Index(Box<Expr>),
    Field(Ident),
    /// `.T`
    Transpose,
}

/// An argument: positional, or `name: value`.
#[derive(Clone, Debug, Serialize)]
pub struct Arg {
    pub name: Option<Ident>,
    pub value: Expr,
}
