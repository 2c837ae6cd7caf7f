//! A loop body at one point, as statements of C.

use sslc_compiler::kernels::ir::{Access, Binary, BufferId, Inst, LoopKernel, Reg, Unary};

/// A point of a loop kernel's index space, and how C names what is there.
#[derive(Clone, Copy)]
pub struct Point<'a> {
    pub kernel: &'a LoopKernel,
    /// The C expression of the index along each axis: a name, a number or anything else. Of type `int`, or `long long`
    /// where the axis has more than 2^31 − 1 places.
    pub index: &'a [String],
    /// The C expression of a buffer's pointer.
    pub pointer: &'a dyn Fn(BufferId) -> String,
    /// What stands for a load, by the number of its instruction, instead of an access to memory: the value it would have.
    pub load: &'a dyn Fn(usize, &Access) -> Option<String>,
    /// What the names of registers begin with.
    pub prefix: &'a str,
}

/// Statements, and where the values are after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    /// One declaration each, in order, without indentation.
    pub lines: Vec<String>,
    /// The C expression of each register: a name, an element of an array that stood for a load, or a number. Empty for registers
    /// that no wanted one needs.
    pub registers: Vec<String>,
}

impl Point<'_> {
    /// Evaluates what the registers `wanted` need.
    pub fn evaluate(&self, wanted: &[Reg]) -> Evaluated {
        let needed = needed(self.kernel, wanted);
        let mut out = Evaluated::default();
        for (r, inst) in self.kernel.body.iter().enumerate() {
            if !needed[r] {
                out.registers.push(String::new());
                continue;
            }
            let at = |r: &Reg| out.registers[*r as usize].as_str();
            let value = match inst {
                Inst::Const(v) => number(*v),
                Inst::Load(access) => match (self.load)(r, access) {
                    Some(value) => value,
                    None => self.load(access),
                },
                Inst::Index(axis) => format!("(float){}", operand(&self.index[*axis])),
                Inst::Unary(op, x) => unary(*op, at(x)),
                Inst::Binary(op, a, b) => binary(*op, at(a), at(b)),
                Inst::Select(c, a, b) => format!("{} != 0.0f ? {} : {}", at(c), at(a), at(b)),
            };
            if is_plain(&value) || is_element(&value) || matches!(inst, Inst::Const(_)) {
                out.registers.push(value);
            } else {
                let name = format!("{}{r}", self.prefix);
                out.lines.push(format!("const float {name} = {value};"));
                out.registers.push(name);
            }
        }
        out
    }

    /// The expression of a load: 0 outside of the ranges, where no memory is touched.
    fn load(&self, access: &Access) -> String {
        let shape = &self.kernel.shape;
        let value = format!(
            "load({} + {})",
            (self.pointer)(access.buffer),
            place(access, shape, self.index)
        );
        match condition(access, shape, self.index) {
            Condition::Always => value,
            Condition::Never => "0.0f".to_string(),
            Condition::When(inside) => format!("{inside} ? {value} : 0.0f"),
        }
    }

    /// The statement that stores a value at an access's place.
    pub fn store(&self, to: &Access, value: &str) -> String {
        let place = place(to, &self.kernel.shape, self.index);
        format!("store({} + {place}, {value});", (self.pointer)(to.buffer))
    }
}

/// Which registers the wanted ones need, themselves among them.
pub fn needed(kernel: &LoopKernel, wanted: &[Reg]) -> Vec<bool> {
    let mut needed = vec![false; kernel.body.len()];
    wanted.iter().for_each(|r| needed[*r as usize] = true);
    for (r, inst) in kernel.body.iter().enumerate().rev() {
        if needed[r] {
            inst.operands().for_each(|o| needed[o as usize] = true);
        }
    }
    needed
}

/// The place of an access in its buffer, in elements: `offset + i·stride…`, in parentheses where it is more than a name or
/// a number. 32 bits wide where every sum of its parts fits.
pub fn place(access: &Access, shape: &[usize], index: &[String]) -> String {
    let reach = shape.iter().zip(&access.strides).fold(
        i128::from(access.offset).abs(),
        |reach, (size, stride)| {
            reach + i128::from(*stride).abs() * (size.saturating_sub(1)) as i128
        },
    );
    let wide = reach > i128::from(i32::MAX);
    let mut offset = access.offset;
    let mut terms = String::new();
    for (i, stride) in index.iter().zip(&access.strides) {
        if *stride == 0 {
            continue;
        }
        if let Ok(i) = i.parse::<i64>() {
            offset += i * stride;
            continue;
        }
        if !terms.is_empty() || *stride < 0 {
            terms.push_str(if *stride < 0 { " - " } else { " + " });
        }
        if wide {
            terms.push_str("(long long)");
        }
        terms.push_str(&operand(i));
        if stride.unsigned_abs() != 1 {
            terms.push_str(&format!(" * {}", stride.unsigned_abs()));
        }
    }
    let terms = terms.trim_start().to_string();
    match (offset, terms.is_empty()) {
        (_, true) => integer(offset),
        (0, false) if is_plain(&terms) => terms,
        (0, false) => format!("({terms})"),
        (_, false) if terms.starts_with('-') => format!("({} {terms})", integer(offset)),
        (_, false) if offset < 0 => format!("({terms} - {})", offset.unsigned_abs()),
        (_, false) => format!("({} + {terms})", integer(offset)),
    }
}

/// Where an access's ranges hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    Always,
    Never,
    /// A C expression in parentheses.
    When(String),
}

/// Whether an access reads memory at a point.
pub fn condition(access: &Access, shape: &[usize], index: &[String]) -> Condition {
    let mut parts = Vec::new();
    for ((valid, size), i) in access.valid.iter().zip(shape).zip(index) {
        let Some((from, to)) = *valid else { continue };
        if from >= to || from >= *size {
            return Condition::Never;
        }
        if let Ok(i) = i.parse::<usize>() {
            if i < from || i >= to {
                return Condition::Never;
            }
            continue;
        }
        let i = operand(i);
        if from > 0 {
            parts.push(format!("{i} >= {from}"));
        }
        if to < *size {
            parts.push(format!("{i} < {to}"));
        }
    }
    if parts.is_empty() {
        Condition::Always
    } else {
        Condition::When(format!("({})", parts.join(" && ")))
    }
}

/// A name or a number, which needs neither parentheses nor a register.
fn is_plain(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits
            .chars()
            .all(|c| word(c) || matches!(c, '.' | '-' | '+'));
    (is_number && !digits.contains(' ')) || (!text.is_empty() && text.chars().all(word))
}

/// An element of an array, by a name or a number.
fn is_element(text: &str) -> bool {
    let parts = text.strip_suffix(']').and_then(|t| t.split_once('['));
    parts.is_some_and(|(name, at)| is_plain(name) && is_plain(at))
}

/// An expression that may stand beside an operator.
fn operand(text: &str) -> String {
    let closed = text.starts_with('(') && closes_at_end(text);
    if closed || (is_plain(text) && !text.starts_with('-')) {
        text.to_string()
    } else {
        format!("({text})")
    }
}

/// Whether the first parenthesis is closed by the last character.
fn closes_at_end(text: &str) -> bool {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1 == text.len();
        }
    }
    false
}

/// A whole number as C reads it: beyond 32 bits a `long long`.
fn integer(n: i64) -> String {
    if i32::try_from(n).is_ok() {
        n.to_string()
    } else {
        format!("{n}LL")
    }
}

/// An f32 as C reads it, bit for bit; a negative number stands in parentheses.
pub fn number(v: f32) -> String {
    let decimal = format!("{v:?}");
    // A compiler may read the digits as an f64 and round again.
    let exact = decimal
        .parse::<f64>()
        .is_ok_and(|read| (read as f32).to_bits() == v.to_bits());
    if !v.is_finite() || !exact {
        return format!("__uint_as_float(0x{:08x}u)", v.to_bits());
    }
    if v.is_sign_negative() {
        format!("({decimal}f)")
    } else {
        format!("{decimal}f")
    }
}

/// A unary operator applied to a name or a number.
pub fn unary(op: Unary, x: &str) -> String {
    match op {
        Unary::Log2 => format!("log2f({x})"),
        Unary::Exp2 => format!("exp2f({x})"),
        Unary::Sin => format!("sinf({x})"),
        Unary::Sqrt => format!("sqrtf({x})"),
        Unary::Recip => format!("1.0f / {x}"),
        Unary::Erf => format!("erff({x})"),
        Unary::Bf16 => format!("round_bf16({x})"),
    }
}

/// A binary operator applied to names or numbers.
pub fn binary(op: Binary, a: &str, b: &str) -> String {
    match op {
        Binary::Add => format!("{a} + {b}"),
        Binary::Sub => format!("{a} - {b}"),
        Binary::Mul => format!("{a} * {b}"),
        Binary::Div => format!("{a} / {b}"),
        Binary::Mod => format!("fmodf({a}, {b})"),
        Binary::Less => format!("{a} < {b} ? 1.0f : 0.0f"),
        Binary::Max => format!("{a} < {b} ? {b} : {a}"),
        Binary::Pow => format!("powf({a}, {b})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(offset: i64, strides: &[i64]) -> Access {
        sslc_kernel_testing::access(BufferId(0), offset, strides)
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("i{i}")).collect()
    }

    #[test]
    fn places_are_folded() {
        let at = |a: &Access, shape: &[usize]| place(a, shape, &names(shape.len()));
        assert_eq!(at(&access(0, &[1]), &[5]), "i0");
        assert_eq!(at(&access(0, &[8, 1]), &[5, 8]), "(i0 * 8 + i1)");
        assert_eq!(at(&access(7, &[0, -1]), &[5, 8]), "(7 - i1)");
        assert_eq!(at(&access(-2, &[1]), &[5]), "(i0 - 2)");
        assert_eq!(at(&access(3, &[0]), &[5]), "3");
        let fixed = ["2".to_string(), "x + 1".to_string()];
        assert_eq!(
            place(&access(1, &[8, 2]), &[5, 8], &fixed),
            "(17 + (x + 1) * 2)"
        );
    }

    /// Not only the place itself but its parts fit into the type they are computed in.
    #[test]
    fn places_beyond_32_bits_are_wide() {
        let shape = [1 << 16, 1 << 15];
        let at = |a: &Access| place(a, &shape, &names(2));
        assert_eq!(at(&access(0, &[1 << 15, 1])), "(i0 * 32768 + i1)");
        assert_eq!(
            at(&access(1, &[1 << 15, 1])),
            "(1 + (long long)i0 * 32768 + (long long)i1)"
        );
        let late = 3_000_000_000;
        assert_eq!(place(&access(late, &[0]), &[1], &names(1)), "3000000000LL");
    }

    #[test]
    fn ranges_are_conditions() {
        let mut a = access(-3, &[1, 0]);
        a.valid = vec![Some((3, 7)), Some((0, 4))];
        let holds = |a: &Access| condition(a, &[9, 4], &names(2));
        assert_eq!(
            holds(&a),
            Condition::When("(i0 >= 3 && i0 < 7)".to_string())
        );
        a.valid[0] = None;
        assert_eq!(holds(&a), Condition::Always);
        a.valid[1] = Some((2, 2));
        assert_eq!(holds(&a), Condition::Never);
    }

    #[test]
    fn numbers_keep_their_bits() {
        assert_eq!(number(3.985_969_3e-5), "3.9859693e-5f");
        assert_eq!(number(-1.0), "(-1.0f)");
        assert_eq!(number(-0.0), "(-0.0f)");
        assert_eq!(number(f32::NEG_INFINITY), "__uint_as_float(0xff800000u)");
        for bits in (0..0x7f80_0000u32).step_by(99_991) {
            let text = number(f32::from_bits(bits));
            if let Some(decimal) = text.strip_suffix('f') {
                let read: f64 = decimal.parse().expect("digits");
                assert_eq!((read as f32).to_bits(), bits, "{text}");
            }
        }
    }

    #[test]
    fn only_what_is_wanted_is_evaluated() {
        let kernel = LoopKernel {
            shape: vec![4],
            body: vec![
                Inst::Load(access(0, &[1])),
                Inst::Const(2.0),
                Inst::Binary(Binary::Mul, 0, 1),
                Inst::Unary(Unary::Recip, 0),
            ],
            outputs: Vec::new(),
        };
        let index = names(1);
        let point = Point {
            kernel: &kernel,
            index: &index,
            pointer: &|b| format!("b{}", b.0),
            load: &|_, _| None,
            prefix: "v",
        };
        let out = point.evaluate(&[2]);
        assert_eq!(
            out.lines,
            [
                "const float v0 = load(b0 + i0);",
                "const float v2 = v0 * 2.0f;"
            ]
        );
        assert_eq!(out.registers, ["v0", "2.0f", "v2", ""]);
        let given = Point {
            load: &|_, _| Some("sum".to_string()),
            ..point
        };
        assert_eq!(given.evaluate(&[3]).lines, ["const float v3 = 1.0f / sum;"]);
        let element = Point {
            load: &|_, _| Some("x[lane]".to_string()),
            ..point
        };
        assert_eq!(
            element.evaluate(&[3]).lines,
            ["const float v3 = 1.0f / x[lane];"]
        );
    }
}
