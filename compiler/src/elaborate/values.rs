//! The values of the language while a spec is evaluated.

use crate::core::graph::ValueId;
use crate::program::{DataSource, Duration, OptimizerRule, ParamKind, ViewOp};
use sslc_grammar::span::Span;
use std::rc::Rc;

use super::builtins::Builtin;

/// An error has been reported; whoever meets this says nothing more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported;

/// A result whose error has been reported.
pub type R<T> = Result<T, Reported>;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);
        impl $name {
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// A source file of the spec or the standard library.
    UnitId
);
index!(
    /// A top-level definition of some unit.
    DefId
);
index!(
    /// One constructor call: one set of parameters.
    ModuleId
);
index!(
    /// A network of the spec, targets included.
    NetworkId
);

/// A module as it is applied: through a target, with the target's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleRef {
    pub id: ModuleId,
    /// The target network whose parameters stand in for those of the source.
    pub target: Option<NetworkId>,
}

/// What can be called and is no module.
#[derive(Clone, Copy, Debug)]
pub enum Callable {
    /// A `fn` or `module` of a spec.
    Def(DefId),
    Builtin(&'static Builtin),
}

#[derive(Clone, Debug)]
pub enum Value {
    Int(i64),
    Float(f64),
    Str(Rc<str>),
    Bool(bool),
    Range(Bound, Bound),
    List(Rc<Vec<Value>>),
    Tensor(ValueId),
    Module(ModuleRef),
    Callable(Callable),
    Pipeline(Rc<Vec<Stage>>),
    Schedule(Rc<ScheduleValue>),
    Duration(Duration),
    /// `every(…, keep: n)`
    Interval(Duration, usize),
    Optimizer(Rc<OptimizerValue>),
    Group(Rc<GroupValue>),
    Ema(Rc<EmaValue>),
    Data(Rc<DataSource>),
    /// `bias` and `norm` where kinds of parameter are meant.
    Kind(ParamKind),
    /// An import's alias.
    Unit(UnitId),
}

/// An end of a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    Int(i64),
    Float(f64),
}

impl Bound {
    pub fn float(self) -> f64 {
        match self {
            Bound::Int(i) => i as f64,
            Bound::Float(f) => f,
        }
    }
}

/// One operation of a view pipeline, with the call that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub op: ViewOp,
    pub name: &'static str,
    pub span: Span,
    /// Whether one value is meant for all channels (`normalize(0.5, 0.25)`).
    pub any_channels: bool,
}

/// A schedule as written, before the length of the training is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleValue {
    pub shape: ScheduleShapeValue,
    pub warmup: Option<(Duration, Span)>,
    pub per_epoch: bool,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleShapeValue {
    Constant(f64),
    Cosine {
        from: f64,
        to: f64,
    },
    Linear {
        from: f64,
        to: f64,
    },
    Step {
        values: Vec<f64>,
        at: Vec<(Duration, Span)>,
    },
}

impl ScheduleValue {
    pub fn constant(value: f64, span: Span) -> ScheduleValue {
        ScheduleValue {
            shape: ScheduleShapeValue::Constant(value),
            warmup: None,
            per_epoch: false,
            span,
        }
    }

    /// Every value the schedule is made of.
    pub fn values(&self) -> Vec<f64> {
        match &self.shape {
            ScheduleShapeValue::Constant(v) => vec![*v],
            ScheduleShapeValue::Cosine { from, to } | ScheduleShapeValue::Linear { from, to } => {
                vec![*from, *to]
            }
            ScheduleShapeValue::Step { values, .. } => values.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct OptimizerValue {
    pub rule: OptimizerRule,
    pub lr: Rc<ScheduleValue>,
    pub momentum: f64,
    pub weight_decay: f64,
    pub exclude: Vec<SelectorValue>,
    pub groups: Vec<Rc<GroupValue>>,
}

#[derive(Clone, Debug)]
pub struct GroupValue {
    pub select: Vec<SelectorValue>,
    pub lr: Option<Rc<ScheduleValue>>,
    pub momentum: Option<f64>,
    pub weight_decay: Option<f64>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SelectorValue {
    Kind(ParamKind),
    Network(NetworkId),
}

/// `ema(f, g, decay: …)`
#[derive(Clone, Debug)]
pub struct EmaValue {
    pub sources: Vec<(NetworkId, Span)>,
    pub decay: Rc<ScheduleValue>,
    pub average_buffers: bool,
    pub span: Span,
}

impl Value {
    pub fn str(text: &str) -> Value {
        Value::Str(Rc::from(text))
    }

    pub fn list(values: Vec<Value>) -> Value {
        Value::List(Rc::new(values))
    }

    /// As a number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(i) => Some(*i as f64),
            Value::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// As a whole number: an integer, or a quotient that is whole (`4096 / 2`).
    pub fn whole(&self) -> Option<i64> {
        match self {
            Value::Int(i) => Some(*i),
            Value::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => Some(*f as i64),
            _ => None,
        }
    }

    /// Whether it can stand before `(`.
    pub fn is_callable(&self) -> bool {
        matches!(self, Value::Module(_) | Value::Callable(_))
    }

    /// What it is, in the words of messages: `a string`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Str(_) => "a string",
            Value::Bool(_) => "true or false",
            Value::Range(..) => "a range",
            Value::List(_) => "a list",
            Value::Tensor(_) => "a tensor",
            Value::Module(_) => "a module",
            Value::Callable(_) => "a function",
            Value::Pipeline(_) => "a view pipeline",
            Value::Schedule(_) => "a schedule",
            Value::Duration(_) => "a duration",
            Value::Interval(..) => "an interval with `keep`",
            Value::Optimizer(_) => "an optimizer",
            Value::Group(_) => "a parameter group",
            Value::Ema(_) => "a moving average",
            Value::Data(_) => "a data source",
            Value::Kind(_) => "a kind of parameter",
            Value::Unit(_) => "an import",
        }
    }
}
