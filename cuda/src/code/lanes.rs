//! Points evaluated one or four at a time along the innermost axis.

use super::body::{Condition, Evaluated, Point, condition, place};
use super::draft::Pointers;
use super::writer::Writer;
use sslc_compiler::kernels::ir::{Access, Combine, Inst, LoopKernel, LoopOutput, Reg};

/// Neighbours that one access to memory moves.
pub const WIDTH: usize = 4;
/// The most accesses of that kind that registers have room for.
const MOST_WIDE: usize = 24;

/// Whether four neighbours of an access along the innermost axis are aligned and inside of its ranges together.
pub fn is_wide(access: &Access) -> bool {
    let Some((inner, outer)) = access.strides.split_last() else {
        return false;
    };
    let four = |n: i64| n % WIDTH as i64 == 0;
    let range = access.valid.last().copied().flatten();
    *inner == 1
        && four(access.offset)
        && outer.iter().all(|s| four(*s))
        && range.is_none_or(|(from, to)| from % WIDTH == 0 && to % WIDTH == 0)
}

/// How many points a thread takes at a time: four where memory allows it for every store and for some access.
pub fn width(kernel: &LoopKernel, outputs: &[&LoopOutput]) -> usize {
    let divides = kernel
        .shape
        .last()
        .is_some_and(|n| n % WIDTH == 0 && *n > 0);
    let mut stores = outputs
        .iter()
        .filter(|o| o.combine == Combine::Store)
        .peekable();
    let loads = kernel.loads().filter(|a| is_wide(a)).count();
    let some = stores.peek().is_some() || loads > 0;
    let fits = loads + stores.clone().count() <= MOST_WIDE;
    if divides && some && fits && stores.all(|o| is_wide(&o.to)) {
        WIDTH
    } else {
        1
    }
}

/// The name of the index along an axis.
pub fn index_name(axis: usize) -> String {
    format!("i{axis}")
}

/// Declares the indices along some axes of a point that is told by one number: `number` counts them row-major, a step of the
/// innermost axis of the whole kernel being `width` places.
pub fn declare_indices(
    w: &mut Writer,
    number: &str,
    shape: &[usize],
    axes: &[usize],
    width: usize,
    wide: bool,
) {
    let suffix = if wide { "ull" } else { "u" };
    let steps = |axis: usize| {
        let inner = axis + 1 == shape.len();
        let by = if inner { width } else { 1 };
        (shape[axis] / by, by)
    };
    let mut below: usize = axes.iter().map(|a| steps(*a).0).product();
    for (at, axis) in axes.iter().enumerate() {
        let (size, by) = steps(*axis);
        below /= size;
        let kind = if i32::try_from(shape[*axis]).is_ok() {
            "int"
        } else {
            "long long"
        };
        let mut value = number.to_string();
        if below > 1 {
            value = format!("{value} / {below}{suffix}");
        }
        if at > 0 {
            value = format!("{value} % {size}{suffix}");
        }
        if by > 1 {
            value = format!("{value} * {by}{suffix}");
        }
        w.line(format!("const {kind} {} = {value};", index_name(*axis)));
    }
}

/// Writes the evaluation of a thread's points at the indices declared, storing the outputs that are stored; `each` writes what is
/// done with the others' values, at each point, whose number is `lane` where there are several.
pub fn evaluate(
    w: &mut Writer,
    kernel: &LoopKernel,
    pointers: &Pointers,
    width: usize,
    outputs: &[&LoopOutput],
    each: impl Fn(&mut Writer, &Evaluated),
) {
    let wanted: Vec<Reg> = outputs.iter().map(|o| o.value).collect();
    let needed = super::body::needed(kernel, &wanted);
    let mut index: Vec<String> = (0..kernel.shape.len()).map(index_name).collect();
    let pointer = |b| pointers.name(b);
    let is_stored = |o: &&&LoopOutput| o.combine == Combine::Store;
    if width == 1 {
        let point = Point {
            kernel,
            index: &index,
            pointer: &pointer,
            load: &|_, _| None,
            prefix: "v",
        };
        let values = point.evaluate(&wanted);
        w.lines(&values.lines);
        for output in outputs.iter().filter(is_stored) {
            w.line(point.store(&output.to, &values.registers[output.value as usize]));
        }
        each(w, &values);
        return;
    }
    for (r, inst) in kernel.body.iter().enumerate() {
        let Inst::Load(access) = inst else { continue };
        if !needed[r] || !is_wide(access) {
            continue;
        }
        let at = place(access, &kernel.shape, &index);
        let load = format!("load4(x{r}, {} + {at});", pointer(access.buffer));
        match condition(access, &kernel.shape, &index) {
            Condition::Always => w.lines([format!("float x{r}[{width}];"), load]),
            Condition::Never => w.line(format!("float x{r}[{width}] = {{}};")),
            Condition::When(inside) => {
                w.line(format!("float x{r}[{width}] = {{}};"));
                w.open(format!("if {inside}"));
                w.line(load);
                w.close();
            }
        }
    }
    for (n, _) in outputs.iter().enumerate().filter(|(_, o)| is_stored(o)) {
        w.line(format!("float y{n}[{width}];"));
    }
    let stored: Vec<String> = index.clone();
    if let Some(inner) = index.last_mut() {
        *inner = format!("{inner} + lane");
    }
    let point = Point {
        kernel,
        index: &index,
        pointer: &pointer,
        load: &|r, access| is_wide(access).then(|| format!("x{r}[lane]")),
        prefix: "v",
    };
    let values = point.evaluate(&wanted);
    each_lane(w, width, |w| {
        w.lines(&values.lines);
        for (n, output) in outputs.iter().enumerate().filter(|(_, o)| is_stored(o)) {
            let value = &values.registers[output.value as usize];
            w.line(format!("y{n}[lane] = {value};"));
        }
        each(w, &values);
    });
    for (n, output) in outputs.iter().enumerate().filter(|(_, o)| is_stored(o)) {
        let at = place(&output.to, &kernel.shape, &stored);
        w.line(format!(
            "store4({} + {at}, y{n});",
            pointer(output.to.buffer)
        ));
    }
}

/// An unrolled loop over the points that a thread takes at a time.
pub fn each_lane(w: &mut Writer, width: usize, inside: impl FnOnce(&mut Writer)) {
    w.line("#pragma unroll");
    w.open(format!("for (int lane = 0; lane < {width}; lane++)"));
    inside(w);
    w.close();
}

/// Makes the buffers that some outputs are made of the function's.
pub fn declare_loads(pointers: &mut Pointers, kernel: &LoopKernel, outputs: &[&LoopOutput]) {
    let wanted: Vec<Reg> = outputs.iter().map(|o| o.value).collect();
    let needed = super::body::needed(kernel, &wanted);
    for (r, inst) in kernel.body.iter().enumerate() {
        if let (Inst::Load(access), true) = (inst, needed[r]) {
            pointers.read(access.buffer);
        }
    }
}
