//! The stage `kernels` as text, JSON and dot.
//!
//! A kernel is its number, name and index space, its operations and bytes; then its loads with their strides, values used more
//! than once, and what it stores or combines. The memory plan stands at the end.

use super::choose::{Pass, work};
use super::ir::{
    Access, Algorithm, Binary, BufferId, Combine, Contraction, ConvShape, Element, Indexed, Inst,
};
use super::ir::{KernelKind, KernelProgram, LoopKernel, Reg, Unary, Window};
use super::prologues::evaluations;
use super::summary::plan_text;
use super::verify::touched;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Nested deeper, an expression gets a line of its own.
const MAX_DEPTH: usize = 6;

/// The whole program.
pub fn text(program: &KernelProgram) -> String {
    let mut out = String::new();
    for (k, kernel) in program.kernels.iter().enumerate() {
        let cost = format!("{} FLOP, {} bytes", program.flops(k), program.bytes(k));
        match &kernel.kind {
            KernelKind::Loop(body) => {
                let _ = writeln!(
                    out,
                    "kernel {k}: {} {:?}  # {cost}",
                    kernel.name, body.shape
                );
                loop_text(&mut out, program, body);
            }
            KernelKind::Fused(fused) => {
                let _ = writeln!(out, "kernel {k}: {}  # {cost}", kernel.name);
                let contraction = KernelKind::Contraction(fused.contraction.clone());
                if let Some(prologue) = &fused.prologue {
                    let (shape, saved) = (&prologue.shape, program.passed(fused));
                    let times = evaluations(&fused.contraction).unwrap_or(1.0);
                    let _ = writeln!(
                        out,
                        "  first over {shape:?}, {times} times, which saves {saved} bytes"
                    );
                    loop_text(&mut out, program, prologue);
                }
                let _ = writeln!(out, "  {}", fixed_text(program, &contraction));
                if let Some(epilogue) = &fused.epilogue {
                    let (shape, saved) = (&epilogue.shape, program.saved(fused));
                    let _ = writeln!(out, "  then over {shape:?}, which saves {saved} bytes");
                    loop_text(&mut out, program, epilogue);
                }
            }
            kind => {
                let _ = writeln!(out, "kernel {k}: {}  # {cost}", kernel.name);
                let _ = writeln!(out, "  {}", fixed_text(program, kind));
            }
        }
    }
    plan_text(&mut out, program);
    out
}

/// The whole program as JSON: its buffers, kernels and the cost of each.
pub fn json(program: &KernelProgram) -> serde_json::Value {
    let costs: Vec<_> = (0..program.kernels.len())
        .map(|k| serde_json::json!({ "flops": program.flops(k), "bytes": program.bytes(k) }))
        .collect();
    serde_json::json!({ "program": program, "costs": costs })
}

/// Kernels, and the tensors between them, in Graphviz's language.
pub fn dot(program: &KernelProgram) -> String {
    let mut out = String::from("digraph kernels {\n  node [shape=box, fontname=monospace];\n");
    let mut writer: BTreeMap<BufferId, usize> = BTreeMap::new();
    for (k, kernel) in program.kernels.iter().enumerate() {
        let _ = writeln!(out, "  k{k} [label={:?}];", format!("{k} {}", kernel.name));
        let (mut reads, writes) = touched(kernel);
        reads.sort_unstable();
        reads.dedup();
        for b in reads {
            if let Some(from) = writer.get(&b) {
                let _ = writeln!(out, "  k{from} -> k{k} [label={:?}];", tensor(program, b));
            }
        }
        writes.into_iter().for_each(|b| {
            writer.insert(b, k);
        });
    }
    out.push_str("}\n");
    out
}

fn tensor(program: &KernelProgram, buffer: BufferId) -> String {
    let buffer = &program.buffers[buffer.0 as usize];
    match buffer.element {
        Element::F32 => format!("{} {:?}", buffer.name, buffer.shape),
        element => format!("{} {}{:?}", buffer.name, element.name(), buffer.shape),
    }
}

/// A buffer's name with its number, which tells apart tensors of one name, and its element type unless it is f32.
pub fn reference(program: &KernelProgram, id: BufferId) -> String {
    let buffer = &program.buffers[id.0 as usize];
    match buffer.element {
        Element::F32 => format!("{}@{}", buffer.name, id.0),
        element => format!("{}@{}:{}", buffer.name, id.0, element.name()),
    }
}

fn access_text(program: &KernelProgram, access: &Access) -> String {
    let mut text = format!("{} {:?}", reference(program, access.buffer), access.strides);
    if access.offset != 0 {
        let _ = write!(text, " from {}", access.offset);
    }
    for (axis, valid) in access.valid.iter().enumerate() {
        if let Some((from, to)) = valid {
            let _ = write!(text, " where {from} <= i{axis} < {to}");
        }
    }
    text
}

fn loop_text(out: &mut String, program: &KernelProgram, kernel: &LoopKernel) {
    let mut uses = vec![0; kernel.body.len()];
    for inst in &kernel.body {
        match inst {
            Inst::Load(_) | Inst::Const(_) | Inst::Index(_) => {}
            Inst::Unary(_, x) => uses[*x as usize] += 1,
            Inst::Binary(_, a, b) => [a, b].iter().for_each(|r| uses[**r as usize] += 1),
            Inst::Select(a, b, c) => [a, b, c].iter().for_each(|r| uses[**r as usize] += 1),
        }
    }
    kernel
        .outputs
        .iter()
        .for_each(|o| uses[o.value as usize] += 1);
    // Each register as it is written where it is used, and how deep that nests.
    let mut shown: Vec<(String, usize)> = Vec::with_capacity(kernel.body.len());
    for (r, inst) in kernel.body.iter().enumerate() {
        let at = |r: &Reg| shown[*r as usize].0.as_str();
        let depth = |rs: &[&Reg]| 1 + rs.iter().map(|r| shown[**r as usize].1).max().unwrap_or(0);
        let (text, depth) = match inst {
            Inst::Load(access) => {
                let _ = writeln!(out, "  v{r} = load {}", access_text(program, access));
                (format!("v{r}"), 0)
            }
            Inst::Const(v) => (format!("{v:?}"), 0),
            Inst::Index(axis) => (format!("i{axis}"), 0),
            Inst::Unary(op, x) => (format!("{}({})", unary(*op), at(x)), depth(&[x])),
            Inst::Binary(op, a, b) => (binary(*op, at(a), at(b)), depth(&[a, b])),
            Inst::Select(c, a, b) => (
                format!("select({}, {}, {})", at(c), at(a), at(b)),
                depth(&[c, a, b]),
            ),
        };
        let named = depth > 0 && (uses[r] > 1 || depth > MAX_DEPTH);
        if named {
            let _ = writeln!(out, "  v{r} = {text}");
        }
        shown.push(if named {
            (format!("v{r}"), 0)
        } else {
            (text, depth)
        });
    }
    for output in &kernel.outputs {
        let how = match &output.combine {
            Combine::Store => "store".to_string(),
            Combine::Sum(axes) => format!("sum over {axes:?} into"),
            Combine::Max(axes) => format!("max over {axes:?} into"),
            Combine::Deviations(axes) => format!("deviations over {axes:?} into"),
        };
        let value = &shown[output.value as usize].0;
        let _ = writeln!(
            out,
            "  {how} {} = {value}",
            access_text(program, &output.to)
        );
    }
}

fn unary(op: Unary) -> &'static str {
    match op {
        Unary::Log2 => "log2",
        Unary::Exp2 => "exp2",
        Unary::Sin => "sin",
        Unary::Sqrt => "sqrt",
        Unary::Recip => "recip",
        Unary::Erf => "erf",
        Unary::Bf16 => "bf16",
    }
}

fn binary(op: Binary, a: &str, b: &str) -> String {
    match op {
        Binary::Add => format!("({a} + {b})"),
        Binary::Sub => format!("({a} - {b})"),
        Binary::Mul => format!("({a} * {b})"),
        Binary::Div => format!("({a} / {b})"),
        Binary::Mod => format!("({a} % {b})"),
        Binary::Less => format!("({a} < {b})"),
        Binary::Max => format!("max({a}, {b})"),
        Binary::Pow => format!("pow({a}, {b})"),
    }
}

/// Sizes, the algorithm, and where there is another the work of each that the choice compared.
fn conv_text(s: &ConvShape, algorithm: Algorithm, pass: Pass) -> String {
    let mut text = format!(
        "[{}, {}, {}, {}] to [{}, {}, {}, {}], {}×{}, stride {}, padding {}, groups {}, {}",
        s.n,
        s.h,
        s.w,
        s.c,
        s.n,
        s.oh,
        s.ow,
        s.k,
        s.kernel,
        s.kernel,
        s.stride,
        s.padding,
        s.groups,
        algorithm.name()
    );
    if let Some(winograd) = work(s, pass, Algorithm::Winograd) {
        let direct = work(s, pass, Algorithm::Direct).unwrap_or(winograd);
        let _ = write!(
            text,
            " (work: winograd {:.2}, direct {:.2})",
            winograd / 1e9,
            direct / 1e9
        );
    }
    text
}

fn window_text(s: &Window) -> String {
    format!(
        "[{}, {}, {}, {}] to [{}, {}], {}×{}, stride {}, padding {}",
        s.n, s.h, s.w, s.c, s.oh, s.ow, s.kernel, s.kernel, s.stride, s.padding
    )
}

/// A kernel without a body, on a line.
fn fixed_text(program: &KernelProgram, kind: &KernelKind) -> String {
    let at = |b: &BufferId| reference(program, *b);
    match kind {
        KernelKind::Loop(_) | KernelKind::Fused(_) => String::new(),
        KernelKind::Indexed(kernel) => match kernel {
            Indexed::Take {
                x,
                index,
                y,
                outer,
                size,
                count,
                inner,
            } => format!(
                "{} = take({}, {})  [{outer}, {count} of {size}, {inner}]",
                at(y),
                at(x),
                at(index)
            ),
            Indexed::ScatterAdd {
                y,
                index,
                x,
                outer,
                size,
                count,
                inner,
            } => format!(
                "{} = scatter_add({}, {})  [{outer}, {count} into {size}, {inner}]",
                at(x),
                at(y),
                at(index)
            ),
            Indexed::ArgMax {
                x,
                y,
                outer,
                size,
                inner,
            } => {
                format!("{} = argmax({})  [{outer}, {size}, {inner}]", at(y), at(x))
            }
            Indexed::MaxPool { x, y, window } => {
                format!("{} = max_pool({})  {}", at(y), at(x), window_text(window))
            }
            Indexed::MaxPoolGrad { x, dy, dx, window } => {
                format!(
                    "{} = max_pool_grad({}, {})  {}",
                    at(dx),
                    at(x),
                    at(dy),
                    window_text(window)
                )
            }
            Indexed::AvgPool { x, y, window } => {
                format!("{} = avg_pool({})  {}", at(y), at(x), window_text(window))
            }
            Indexed::AvgPoolGrad { dy, dx, window } => {
                format!(
                    "{} = avg_pool_grad({})  {}",
                    at(dx),
                    at(dy),
                    window_text(window)
                )
            }
            Indexed::Uniform {
                step,
                y,
                seed,
                stream,
            } => {
                format!(
                    "{} = uniform({})  seed {seed}, stream {stream}",
                    at(y),
                    at(step)
                )
            }
        },
        KernelKind::Contraction(kernel) => match kernel {
            Contraction::MatMul {
                a,
                b,
                out,
                batch,
                m,
                n,
                k,
                ta,
                tb,
            } => {
                let t = |on: &bool| if *on { ".T" } else { "" };
                format!(
                    "{} = {}{} @ {}{}  [{batch}, {m}, {n}, {k}]",
                    at(out),
                    at(a),
                    t(ta),
                    at(b),
                    t(tb)
                )
            }
            Contraction::Conv {
                x,
                w,
                y,
                shape,
                algorithm,
            } => {
                format!(
                    "{} = conv({}, {})  {}",
                    at(y),
                    at(x),
                    at(w),
                    conv_text(shape, *algorithm, Pass::Forward)
                )
            }
            Contraction::ConvInputGrad {
                dy,
                w,
                dx,
                shape,
                algorithm,
            } => {
                format!(
                    "{} = conv_input_grad({}, {})  {}",
                    at(dx),
                    at(dy),
                    at(w),
                    conv_text(shape, *algorithm, Pass::InputGrad)
                )
            }
            Contraction::ConvFilterGrad {
                x,
                dy,
                dw,
                shape,
                algorithm,
            } => {
                format!(
                    "{} = conv_filter_grad({}, {})  {}",
                    at(dw),
                    at(x),
                    at(dy),
                    conv_text(shape, *algorithm, Pass::FilterGrad)
                )
            }
        },
    }
}
