//! Indexed kernels: a thread for each element of the result, which it gathers in a fixed order.
//!
//! Windows over images with a multiple of four channels are made four channels at a time. [`super::pooling`] has those.

use super::Argument;
use super::draft::{Draft, Drafts, NAME, c_type};
use super::pooling;
use super::writer::Writer;
use sslc_compiler::kernels::ir::{Buffer, BufferId, Indexed};

/// Threads of a block.
const THREADS: usize = 256;
/// Rows at least so long are searched by a warp each.
const LONG_ROW: usize = 64;

/// The launches of an indexed kernel; none where there is nothing to write.
pub fn indexed_kernel(kernel: &Indexed, buffers: &[Buffer]) -> Drafts {
    let draft = match *kernel {
        Indexed::Take {
            x,
            index,
            y,
            outer,
            size,
            count,
            inner,
        } => take(
            Function::new(buffers, &[x, index], y),
            [outer, size, count, inner],
        ),
        Indexed::ScatterAdd {
            y,
            index,
            x,
            outer,
            size,
            count,
            inner,
        } => scatter_add(
            Function::new(buffers, &[y, index], x),
            [outer, size, count, inner],
        ),
        Indexed::ArgMax {
            x,
            y,
            outer,
            size,
            inner,
        } => argmax(Function::new(buffers, &[x], y), [outer, size, inner]),
        Indexed::MaxPool { x, y, window } => {
            pooling::max_pool(Function::new(buffers, &[x], y), &window)
        }
        Indexed::MaxPoolGrad { x, dy, dx, window } => {
            pooling::max_pool_grad(Function::new(buffers, &[x, dy], dx), &window)
        }
        Indexed::AvgPool { x, y, window } => {
            pooling::avg_pool(Function::new(buffers, &[x], y), &window)
        }
        Indexed::AvgPoolGrad { dy, dx, window } => {
            pooling::avg_pool_grad(Function::new(buffers, &[dy], dx), &window)
        }
        Indexed::Uniform {
            step,
            y,
            seed,
            stream,
        } => {
            let len = buffers[y.0 as usize].len();
            uniform(Function::new(buffers, &[step], y), len, seed, stream)
        }
    };
    Drafts {
        launches: draft.into_iter().collect(),
        scratch_words: 0,
    }
}

/// A function under way: its pointers are `p0`, `p1`, … to what it reads, the last to what it writes.
pub struct Function {
    parameters: Vec<String>,
    arguments: Vec<Argument>,
    pub w: Writer,
    /// Whether places take 64 bits.
    pub wide: bool,
}

impl Function {
    fn new(buffers: &[Buffer], read: &[BufferId], written: BufferId) -> Function {
        let all = || read.iter().chain([&written]);
        let of = |b: &BufferId| &buffers[b.0 as usize];
        let constants = read.iter().map(|_| "const ").chain([""]);
        let parameters = all().zip(constants).enumerate().map(|(n, (b, constant))| {
            let element = c_type(of(b).element);
            format!("{constant}{element}* __restrict__ p{n}")
        });
        let mut w = Writer::default();
        w.indent();
        Function {
            parameters: parameters.collect(),
            arguments: all().map(|b| Argument::Buffer(*b)).collect(),
            wide: all().any(|b| of(b).len() > i32::MAX as usize - THREADS),
            w,
        }
    }

    /// The type of places.
    pub fn places(&self) -> &'static str {
        if self.wide { "long long" } else { "int" }
    }

    /// Begins a function in which each thread has the unit `at` of `units`, each `lanes` threads wide.
    pub fn each(&mut self, units: usize, lanes: usize) {
        let (kind, suffix) = self.counter();
        let per_block = THREADS / lanes;
        let thread = match lanes {
            1 => "threadIdx.x".to_string(),
            _ => format!("threadIdx.x / {lanes}"),
        };
        let block = format!("({kind})blockIdx.x * {per_block}");
        self.w
            .line(format!("const {kind} at = {block} + {thread};"));
        if !units.is_multiple_of(per_block) {
            self.w.open(format!("if (at >= {units}{suffix})"));
            self.w.line("return;");
            self.w.close();
        }
    }

    /// Declares the parts of `at` by sizes, outermost first, the last in steps of some places.
    pub fn declare(&mut self, names: &[&str], sizes: &[usize], step: usize) {
        let (_, suffix) = self.counter();
        let kind = self.places();
        let mut below = 1;
        let mut lines = Vec::new();
        for (n, (name, size)) in names.iter().zip(sizes).enumerate().rev() {
            let last = n + 1 == names.len();
            let size = if last { size / step } else { *size };
            let mut value = "at".to_string();
            if below > 1 {
                value = format!("{value} / {below}{suffix}");
            }
            if n > 0 {
                value = format!("{value} % {size}{suffix}");
            }
            if last && step > 1 {
                value = format!("{value} * {step}{suffix}");
            }
            lines.push(format!("const {kind} {name} = {value};"));
            below *= size;
        }
        lines.reverse();
        self.w.lines(lines);
    }

    fn counter(&self) -> (&'static str, &'static str) {
        if self.wide {
            ("unsigned long long", "ull")
        } else {
            ("unsigned", "u")
        }
    }

    /// The launch over so many units; none where there are none.
    pub fn finish(self, units: usize, lanes: usize) -> Option<Draft> {
        let head = format!(
            "extern \"C\" __global__ void __launch_bounds__({THREADS}) {NAME}({}) {{\n",
            self.parameters.join(", ")
        );
        (units > 0).then(|| Draft {
            source: format!("{head}{}}}\n", self.w.finish()),
            suffix: "",
            threads: THREADS as u32,
            shared_bytes: 0,
            arguments: self.arguments,
            grid: [super::draft::blocks(units, THREADS / lanes), 1, 1],
        })
    }
}

/// `y[o, j, i] = x[o, index[j], i]`
fn take(mut f: Function, [outer, size, count, inner]: [usize; 4]) -> Option<Draft> {
    let step = if inner % 4 == 0 { 4 } else { 1 };
    let units = outer * count * inner / step;
    if units == 0 {
        return None;
    }
    f.each(units, 1);
    f.declare(&["o", "j", "i"], &[outer, count, inner], step);
    let places = f.places();
    f.w.line(format!(
        "const {places} from = nearest_place(load(p1 + j), {size});"
    ));
    let x = format!("p0 + ((o * {size} + from) * {inner} + i)");
    let y = format!("p2 + ((o * {count} + j) * {inner} + i)");
    if step == 1 {
        f.w.line(format!("store({y}, load({x}));"));
    } else {
        f.w.line("float v[4];");
        f.w.line(format!("load4(v, {x});"));
        f.w.line(format!("store4({y}, v);"));
    }
    f.finish(units, 1)
}

/// `x[o, index[j], i] += y[o, j, i]` in order of j: each element of x looks for the j that are its own.
fn scatter_add(mut f: Function, [outer, size, count, inner]: [usize; 4]) -> Option<Draft> {
    let step = if inner % 4 == 0 { 4 } else { 1 };
    let units = outer * size * inner / step;
    if units == 0 {
        return None;
    }
    f.each(units, 1);
    f.declare(&["o", "s", "i"], &[outer, size, inner], step);
    let places = f.places();
    let y = format!("p0 + ((o * {count} + j) * {inner} + i)");
    let x = format!("p2 + ((o * {size} + s) * {inner} + i)");
    f.w.line(if step == 1 {
        "float sum = 0.0f;"
    } else {
        "float sum[4] = {};"
    });
    f.w.open(format!("for ({places} j = 0; j < {count}; j++)"));
    f.w.open(format!("if (nearest_place(load(p1 + j), {size}) == s)"));
    if step == 1 {
        f.w.line(format!("sum += load({y});"));
    } else {
        f.w.line("float v[4];");
        f.w.line(format!("load4(v, {y});"));
        f.w.line("#pragma unroll");
        f.w.open("for (int lane = 0; lane < 4; lane++)");
        f.w.line("sum[lane] += v[lane];");
        f.w.close();
    }
    f.w.close();
    f.w.close();
    f.w.line(if step == 1 {
        format!("store({x}, sum);")
    } else {
        format!("store4({x}, sum);")
    });
    f.finish(units, 1)
}

/// The position of the first maximum along the middle axis. A NaN is the maximum where it is the first element and else
/// never.
fn argmax(mut f: Function, [outer, size, inner]: [usize; 3]) -> Option<Draft> {
    let units = outer * inner;
    if units == 0 {
        return None;
    }
    let lanes = if inner == 1 && size >= LONG_ROW {
        32
    } else {
        1
    };
    let places = f.places();
    f.each(units, lanes);
    f.declare(&["o", "i"], &[outer, inner], 1);
    f.w.line(format!("const {places} begin = o * {} + i;", size * inner));
    if lanes == 1 {
        f.w.line("float most = load(p0 + begin);");
        f.w.line("int best = 0;");
        f.w.open(format!("for (int j = 1; j < {size}; j++)"));
        f.w.line(format!(
            "const float v = load(p0 + begin + ({places})j * {inner});"
        ));
        f.w.open("if (v > most)");
        f.w.line("most = v;");
        f.w.line("best = j;");
        f.w.close();
        f.w.close();
        f.w.line("store(p1 + at, (float)best);");
    } else {
        f.w.lines([
            "const float first = load(p0 + begin);".to_string(),
            "float most = first;".to_string(),
            "int best = 0;".to_string(),
            format!("for (int j = threadIdx.x % 32; j < {size}; j += 32) {{"),
            "    const float v = load(p0 + begin + j);".to_string(),
            "    if (v > most) {".to_string(),
            "        most = v;".to_string(),
            "        best = j;".to_string(),
            "    }".to_string(),
            "}".to_string(),
            "#pragma unroll".to_string(),
            "for (int by = 16; by > 0; by /= 2) {".to_string(),
            "    const float v = __shfl_down_sync(0xffffffffu, most, by);".to_string(),
            "    const int j = __shfl_down_sync(0xffffffffu, best, by);".to_string(),
            "    if (v > most || (v == most && j < best)) {".to_string(),
            "        most = v;".to_string(),
            "        best = j;".to_string(),
            "    }".to_string(),
            "}".to_string(),
        ]);
        f.w.open("if (threadIdx.x % 32 == 0)");
        f.w.line("store(p1 + at, (float)best);");
        f.w.close();
    }
    f.finish(units, lanes)
}

/// Philox 4×32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
fn uniform(mut f: Function, len: usize, seed: u64, stream: u64) -> Option<Draft> {
    if len == 0 {
        return None;
    }
    f.each(len, 1);
    let [seed, stream] = [seed, stream].map(|n| [n as u32, (n >> 32) as u32]);
    f.w.line("const unsigned step = (unsigned)nearest_place(load(p0), 1ll << 62);");
    f.w.line(format!(
        "const unsigned word = philox((unsigned)at, step, {:#010x}u, {:#010x}u, {:#010x}u, {:#010x}u);",
        stream[0], stream[1], seed[0], seed[1]
    ));
    f.w.line("store(p1 + at, (float)(word >> 8) * (1.0f / 16777216.0f));");
    f.finish(len, 1)
}
