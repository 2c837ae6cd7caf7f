//! Windows over images, gathered. A thread has one place, and one channel of it or four.

use super::body::number;
use super::draft::Draft;
use super::indexed::Function;
use sslc_compiler::kernels::ir::Window;

/// Channels of a thread.
fn channels(s: &Window) -> usize {
    if s.c.is_multiple_of(4) { 4 } else { 1 }
}

/// Begins a function whose threads have the output's places, or the input's.
fn begin(f: &mut Function, s: &Window, output: bool) -> usize {
    let (h, w) = if output { (s.oh, s.ow) } else { (s.h, s.w) };
    let units = s.n * h * w * s.c / channels(s);
    if units > 0 {
        f.each(units, 1);
        let names = if output {
            ["n", "oy", "ox", "c"]
        } else {
            ["n", "y", "x", "c"]
        };
        f.declare(&names, &[s.n, h, w, s.c], channels(s));
    }
    units
}

/// Opens the loops over a window's places in the image, in row-major order: `y` and `x` under other names.
fn open_window(f: &mut Function, s: &Window, [y, x]: [&str; 2]) {
    let kind = f.places();
    for (at, out, tap, size) in [(y, "oy", "ky", s.h), (x, "ox", "kx", s.w)] {
        f.w.open(format!(
            "for (int {tap} = 0; {tap} < {}; {tap}++)",
            s.kernel
        ));
        f.w.line(format!(
            "const {kind} {at} = {out} * {} - {} + {tap};",
            s.stride, s.padding
        ));
        f.w.open(format!("if ({at} < 0 || {at} >= {size})"));
        f.w.line("continue;");
        f.w.close();
    }
}

/// Opens the loops over the windows that hold an input's place, in row-major order.
fn open_holders(f: &mut Function, s: &Window) {
    let kind = f.places();
    for (at, out, first, last, size) in [
        ("y", "oy", "oy_first", "oy_last", s.oh),
        ("x", "ox", "ox_first", "ox_last", s.ow),
    ] {
        // Windows o with o·stride − padding ≤ at < o·stride − padding + kernel.
        let below = format!("{at} + {} - {}", s.padding, s.kernel);
        f.w.line(format!(
            "const {kind} {first} = {below} < 0 ? 0 : ({below}) / {} + 1;",
            s.stride
        ));
        f.w.line(format!(
            "const {kind} {last} = min(({at} + {}) / {}, ({kind}){});",
            s.padding,
            s.stride,
            size as i64 - 1
        ));
        f.w.open(format!(
            "for ({kind} {out} = {first}; {out} <= {last}; {out}++)"
        ));
    }
}

fn close(f: &mut Function, blocks: usize) {
    (0..blocks).for_each(|_| f.w.close());
}

/// The place of an element of the input or of the output.
fn element(s: &Window, output: bool, y: &str, x: &str) -> String {
    let (h, w) = if output { (s.oh, s.ow) } else { (s.h, s.w) };
    format!("(((n * {h} + {y}) * {w} + {x}) * {} + c)", s.c)
}

/// A statement for each channel of a thread.
fn each_channel(f: &mut Function, s: &Window, lines: &[&str]) {
    f.w.line("#pragma unroll");
    f.w.open(format!(
        "for (int lane = 0; lane < {}; lane++)",
        channels(s)
    ));
    f.w.lines(lines);
    f.w.close();
}

/// Declares an array of a thread's channels, read from memory.
fn load(f: &mut Function, s: &Window, name: &str, pointer: &str, at: &str) {
    if channels(s) == 1 {
        f.w.line(format!(
            "const float {name}[1] = {{load({pointer} + {at})}};"
        ));
    } else {
        f.w.line(format!("float {name}[4];"));
        f.w.line(format!("load4({name}, {pointer} + {at});"));
    }
}

fn store(f: &mut Function, s: &Window, pointer: &str, at: &str, name: &str) {
    if channels(s) == 1 {
        f.w.line(format!("store({pointer} + {at}, {name}[0]);"));
    } else {
        f.w.line(format!("store4({pointer} + {at}, {name});"));
    }
}

/// Maximum over windows: a NaN wins, padding does not.
pub fn max_pool(mut f: Function, s: &Window) -> Option<Draft> {
    let units = begin(&mut f, s, true);
    let channels = channels(s);
    f.w.line(format!("float most[{channels}];"));
    each_channel(&mut f, s, &["most[lane] = __uint_as_float(0xff800000u);"]);
    open_window(&mut f, s, ["y", "x"]);
    load(&mut f, s, "v", "p0", &element(s, false, "y", "x"));
    each_channel(
        &mut f,
        s,
        &["most[lane] = v[lane] > most[lane] || v[lane] != v[lane] ? v[lane] : most[lane];"],
    );
    close(&mut f, 2);
    store(&mut f, s, "p1", &element(s, true, "oy", "ox"), "most");
    f.finish(units, 1)
}

/// Each place of the input sums dy of the windows whose first maximum it is, in the order of the windows.
pub fn max_pool_grad(mut f: Function, s: &Window) -> Option<Draft> {
    let units = begin(&mut f, s, false);
    let channels = channels(s);
    let kind = f.places();
    f.w.line(format!("float sum[{channels}] = {{}};"));
    load(&mut f, s, "mine", "p0", &element(s, false, "y", "x"));
    f.w.line(format!("const {kind} here = y * {} + x;", s.w));
    open_holders(&mut f, s);
    // Whether the place wins: nothing before it is as large, nothing after it is larger.
    f.w.line(format!("bool wins[{channels}];"));
    each_channel(&mut f, s, &["wins[lane] = true;"]);
    open_window(&mut f, s, ["wy", "wx"]);
    f.w.line(format!("const {kind} there = wy * {} + wx;", s.w));
    f.w.open("if (there == here)");
    f.w.line("continue;");
    f.w.close();
    load(&mut f, s, "v", "p0", &element(s, false, "wy", "wx"));
    each_channel(
        &mut f,
        s,
        &[
            "wins[lane] = wins[lane] && !(there < here ? beats_later(v[lane], mine[lane]) : beats_earlier(v[lane], mine[lane]));",
        ],
    );
    close(&mut f, 2);
    load(&mut f, s, "dy", "p1", &element(s, true, "oy", "ox"));
    each_channel(
        &mut f,
        s,
        &["sum[lane] = wins[lane] ? sum[lane] + dy[lane] : sum[lane];"],
    );
    close(&mut f, 2);
    store(&mut f, s, "p2", &element(s, false, "y", "x"), "sum");
    f.finish(units, 1)
}

/// Mean over windows, zeros of the padding counted.
pub fn avg_pool(mut f: Function, s: &Window) -> Option<Draft> {
    let units = begin(&mut f, s, true);
    f.w.line(format!("float sum[{}] = {{}};", channels(s)));
    open_window(&mut f, s, ["y", "x"]);
    load(&mut f, s, "v", "p0", &element(s, false, "y", "x"));
    each_channel(&mut f, s, &["sum[lane] += v[lane];"]);
    close(&mut f, 2);
    let scale = number(scale(s));
    each_channel(&mut f, s, &[&format!("sum[lane] *= {scale};")]);
    store(&mut f, s, "p1", &element(s, true, "oy", "ox"), "sum");
    f.finish(units, 1)
}

/// Each place of the input sums its parts of the windows that hold it, in the order of the windows.
pub fn avg_pool_grad(mut f: Function, s: &Window) -> Option<Draft> {
    let units = begin(&mut f, s, false);
    f.w.line(format!("float sum[{}] = {{}};", channels(s)));
    open_holders(&mut f, s);
    load(&mut f, s, "dy", "p0", &element(s, true, "oy", "ox"));
    let scale = number(scale(s));
    each_channel(&mut f, s, &[&format!("sum[lane] += dy[lane] * {scale};")]);
    close(&mut f, 2);
    store(&mut f, s, "p1", &element(s, false, "y", "x"), "sum");
    f.finish(units, 1)
}

/// What each place of a window counts in the mean.
fn scale(s: &Window) -> f32 {
    1.0 / (s.kernel * s.kernel) as f32
}
