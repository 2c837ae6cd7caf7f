//! The registry: the one table of the ops of `core`. What the compiler knows of an op stands in its [`OpDef`] and
//! nowhere else; adding one is described in `docs/adding-an-op.md`.
//!
//! - [`source`]: views, parameters, buffers, constants, draws.
//! - [`unary`], [`binary`], [`compare`]: element by element: functions, arithmetic; comparisons, logic and selection.
//! - [`reduce`]: sums, extremes, variance.
//! - [`shape`]: reshape, transpose, broadcast, concat, slice, pad.
//! - [`contraction`]: matmul, convolution and its two transposes.
//! - [`pool`]: windows. [`index`]: take and scatter.
//!
//! Invariant: elementwise ops take operands of equal shape; broadcasting is the op `broadcast`, scalars included.

use super::builder::Builder;
use super::graph::{Attr, Attrs, DType, MAX_ELEMENTS, MAX_RANK, Type, ValueId};
use super::interp::{EvalCtx, Tensor};
use crate::lower::LowerFn;
use crate::onnx::Onnx;
use std::fmt;

pub mod binary;
pub mod compare;
pub mod contraction;
pub mod index;
pub mod pool;
pub mod reduce;
pub mod sample;
pub mod shape;
pub mod source;
pub mod unary;

pub use binary::*;
pub use compare::*;
pub use contraction::*;
pub use index::*;
pub use pool::*;
pub use reduce::*;
pub use sample::Sample;
pub use shape::*;
pub use source::*;
pub use unary::*;

/// An op: a row of the registry. Two are equal if their names are.
pub type Op = &'static OpDef;

/// One row of the registry.
pub struct OpDef {
    pub name: &'static str,
    /// One sentence or two: what it computes.
    pub doc: &'static str,
    pub class: Class,
    pub surface: Surface,
    pub args: Arity,
    pub attrs: &'static [AttrDef],
    /// The type of the result. Called only with arguments and attributes that fit `args` and `attrs`.
    pub shape: fn(&[&Type], &Attrs) -> Result<Type, ShapeError>,
    pub grad: Grad,
    pub eval: Eval,
    /// The value as nodes of a luminal graph.
    pub lower: LowerFn,
    /// The value as ONNX says it, for exported encoders.
    pub onnx: Onnx,
    /// Arguments and attributes to try it with: gradient checks, tests of backends.
    pub sample: fn() -> Vec<Sample>,
}

/// What kind of computation an op is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A value from outside, or one that depends on attributes only.
    Source,
    /// Element by element over operands of equal shape.
    Elementwise,
    Reduction,
    Contraction,
    Pool,
    /// Moves elements without changing them.
    Shape,
    /// Reads or writes places given by data.
    Index,
}

/// How the language shows an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// A builtin of the same name, with NumPy's broadcasting.
    Elementwise,
    /// An operator, with NumPy's broadcasting.
    Operator(&'static str),
    /// A builtin of the same name that takes `axis:` and `keep:`.
    Reduction,
    /// A builtin with an adapter of its own, where its name and signature stand.
    Function,
    /// Not in the language: the compiler makes it.
    Internal,
}

/// The arguments an op takes, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    Fixed(&'static [&'static str]),
    /// One or more.
    Variadic(&'static str),
}

impl Arity {
    pub fn accepts(self, n: usize) -> bool {
        match self {
            Arity::Fixed(names) => names.len() == n,
            Arity::Variadic(_) => n >= 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrKind {
    Bool,
    Int,
    Float,
    Str,
    Ints,
}

impl AttrKind {
    pub fn fits(self, attr: &Attr) -> bool {
        match self {
            AttrKind::Bool => matches!(attr, Attr::Bool(_)),
            AttrKind::Int => matches!(attr, Attr::Int(_)),
            AttrKind::Float => matches!(attr, Attr::Float(_)),
            AttrKind::Str => matches!(attr, Attr::Str(_)),
            AttrKind::Ints => matches!(attr, Attr::Ints(_)),
        }
    }

    /// In a message: `attribute "axis" must be an integer`.
    pub fn describe(self) -> &'static str {
        match self {
            AttrKind::Bool => "true or false",
            AttrKind::Int => "an integer",
            AttrKind::Float => "a number",
            AttrKind::Str => "a string",
            AttrKind::Ints => "a list of integers",
        }
    }
}

/// An attribute every node of the op has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttrDef {
    pub name: &'static str,
    pub kind: AttrKind,
    pub doc: &'static str,
}

pub(super) const fn attr(name: &'static str, kind: AttrKind, doc: &'static str) -> AttrDef {
    AttrDef { name, kind, doc }
}

/// The gradient of an op.
pub enum Grad {
    /// No argument has one: sources, comparisons, integers, `stop_gradient`.
    Zero,
    /// The gradient of each argument, in terms of core ops; `None` where it has none.
    Rule(fn(&mut GradCtx) -> Vec<Option<ValueId>>),
    /// There is no rule: asking for a gradient through it is a mistake of the compiler.
    Undefined,
}

/// What a gradient rule sees.
pub struct GradCtx<'a> {
    pub b: &'a mut Builder,
    pub args: &'a [ValueId],
    pub attrs: &'a Attrs,
    /// The value of the node itself.
    pub y: ValueId,
    /// The gradient of the loss by `y`, of the same shape, f32 or bf16.
    pub dy: ValueId,
    /// Whether the gradient of an argument is asked for; a rule may skip the others.
    pub needs: &'a [bool],
}

/// The value of an op, in f64: the interpreter's column.
pub enum Eval {
    Unary(fn(f64) -> f64),
    Binary(fn(f64, f64) -> f64),
    Ternary(fn(f64, f64, f64) -> f64),
    General(fn(&EvalCtx) -> Result<Tensor, String>),
}

/// Why an op does not take arguments of these shapes: one sentence with the shapes, and which arguments are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError {
    pub message: String,
    pub args: Vec<usize>,
}

impl ShapeError {
    pub fn new(args: &[usize], message: impl Into<String>) -> ShapeError {
        ShapeError {
            message: message.into(),
            args: args.to_vec(),
        }
    }
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl OpDef {
    /// Puts attributes into the order of the schema; says what is missing, unknown, given twice or of the wrong kind.
    pub fn check_attrs(&self, mut given: Vec<(&'static str, Attr)>) -> Result<Attrs, ShapeError> {
        let mut ordered = Vec::with_capacity(self.attrs.len());
        for def in self.attrs {
            let Some(at) = given.iter().position(|(name, _)| *name == def.name) else {
                return Err(ShapeError::new(
                    &[],
                    format!("`{}` needs the attribute `{}`", self.name, def.name),
                ));
            };
            let (_, value) = given.swap_remove(at);
            if !def.kind.fits(&value) {
                return Err(ShapeError::new(
                    &[],
                    format!(
                        "attribute `{}` of `{}` must be {}",
                        def.name,
                        self.name,
                        def.kind.describe()
                    ),
                ));
            }
            ordered.push((def.name, value));
        }
        if let Some((name, _)) = given.first() {
            let known = self.attrs.iter().any(|def| def.name == *name);
            let message = if known {
                format!("`{}` is given its attribute `{name}` twice", self.name)
            } else {
                format!("`{}` has no attribute `{name}`", self.name)
            };
            return Err(ShapeError::new(&[], message));
        }
        Ok(Attrs(ordered))
    }

    /// The op's own rule, which knows of f32 only: bf16 is read as f32. What moves elements keeps it, and both operands of a
    /// product have one type.
    fn of_any_precision(&self, args: &[&Type], attrs: &Attrs) -> Result<Type, ShapeError> {
        if args.iter().all(|a| a.dtype != DType::Bf16) {
            return (self.shape)(args, attrs);
        }
        if self.class == Class::Contraction && args.iter().any(|a| a.dtype != DType::Bf16) {
            return Err(ShapeError::new(
                &[0, 1],
                format!(
                    "the operands of a product are both f32 or both bf16: {} and {}",
                    args[0], args[1]
                ),
            ));
        }
        let wide: Vec<Type> = args
            .iter()
            .map(|a| match a.dtype {
                DType::Bf16 => Type::f32(&a.shape),
                DType::F32 | DType::I32 | DType::Bool => (*a).clone(),
            })
            .collect();
        let mut ty = (self.shape)(&wide.iter().collect::<Vec<_>>(), attrs)?;
        if self.class == Class::Shape && args.len() == 1 {
            ty.dtype = DType::Bf16;
        }
        Ok(ty)
    }

    /// The type of the result for arguments of these types: arity, the op's own rule, and the limits on every tensor.
    pub fn result_type(&self, args: &[&Type], attrs: &Attrs) -> Result<Type, ShapeError> {
        let all: Vec<usize> = (0..args.len()).collect();
        if !self.args.accepts(args.len()) {
            let wanted = match self.args {
                Arity::Fixed(&[_]) => "1 argument".to_string(),
                Arity::Fixed(names) => format!("{} arguments", names.len()),
                Arity::Variadic(_) => "at least 1 argument".to_string(),
            };
            return Err(ShapeError::new(
                &all,
                format!("`{}` takes {wanted}, not {}", self.name, args.len()),
            ));
        }
        let ty = self.of_any_precision(args, attrs)?;
        check_limits(&ty).map_err(|message| ShapeError::new(&all, message))?;
        Ok(ty)
    }
}

/// Rank at most 6, no empty axis, fewer than 2^48 elements.
pub fn check_limits(ty: &Type) -> Result<(), String> {
    if ty.rank() > MAX_RANK {
        return Err(format!(
            "the result would be {ty}, of rank {}; a tensor has at most {MAX_RANK} axes",
            ty.rank()
        ));
    }
    if ty.shape.contains(&0) {
        return Err(format!(
            "the result would be {ty}, which has no elements; every axis has at least one"
        ));
    }
    let elements = ty
        .shape
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul(*d))
        .filter(|n| *n < MAX_ELEMENTS);
    match elements {
        Some(_) => Ok(()),
        None => Err(format!(
            "the result would be {ty}; a tensor has fewer than 2^48 elements"
        )),
    }
}

impl PartialEq for OpDef {
    fn eq(&self, other: &OpDef) -> bool {
        std::ptr::eq(self, other) || self.name == other.name
    }
}

impl Eq for OpDef {}

impl fmt::Debug for OpDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All ops, by kind of computation.
pub static REGISTRY: &[Op] = &[
    &VIEW,
    &LABELS,
    &PARAM,
    &BUFFER,
    &STATE,
    &SCHEDULE,
    &STEP,
    &CONSTANT,
    &IOTA,
    &UNIFORM, //
    &NEG,
    &EXP,
    &LOG,
    &SQRT,
    &SQRT_SAFE,
    &ABS,
    &RELU,
    &GELU,
    &ERF,
    &SIGMOID,
    &TANH,
    &SOFTPLUS,
    &SIN,
    &COS,
    &CAST,
    &TO_BF16,
    &STOP_GRADIENT,
    &ADD,
    &SUB,
    &MUL,
    &DIV,
    &POW,
    &MAXIMUM,
    &MINIMUM, //
    &EQ,
    &NE,
    &LT,
    &LE,
    &GT,
    &GE,
    &NOT,
    &AND,
    &OR,
    &SELECT, //
    &SUM,
    &MAX,
    &MIN,
    &ARGMAX,
    &VARIANCE, //
    &MATMUL,
    &CONV2D,
    &CONV2D_INPUT_GRAD,
    &CONV2D_FILTER_GRAD, //
    &MAX_POOL,
    &MAX_POOL_GRAD,
    &AVG_POOL,
    &AVG_POOL_GRAD, //
    &RESHAPE,
    &TRANSPOSE,
    &BROADCAST,
    &CONCAT,
    &SLICE,
    &PAD, //
    &TAKE,
    &SCATTER_ADD,
];

/// The op of this name.
pub fn find(name: &str) -> Option<Op> {
    REGISTRY.iter().copied().find(|op| op.name == name)
}
