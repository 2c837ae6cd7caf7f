//! Outputs of a loop kernel that are combined over the same axes.
//!
//! A block makes some results. Each thread adds up points of one result (of four side by side, where the innermost axis is kept)
//! in a fixed stride, then the threads of a result are merged in a fixed order. Where that leaves too few blocks, the points of each
//! result are cut into parts, and a second launch merges those.

use super::Argument;
use super::body::place;
use super::canon::points;
use super::draft::{Draft, Drafts, Pointers, blocks, head};
use super::lanes::{
    declare_indices, declare_loads, each_lane, evaluate, index_name, is_wide, width,
};
use super::writer::Writer;
use sslc_compiler::kernels::ir::{Buffer, Combine, LoopKernel, LoopOutput};

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks that keep a GPU busy: below half of it, results are made in parts.
const ENOUGH: usize = 528;
/// A thread adds up at least so many points before its work is worth a second launch.
const LEAST: usize = 8;

/// How the threads of a block are laid out over its results and their points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    /// Results of a block, or fours of them.
    columns: usize,
    /// Threads of a result. A power of two.
    lanes: usize,
    /// Whether neighbouring threads are at neighbouring results; else they are at neighbouring points of one.
    across: bool,
    /// Parts of each result's points, and the units of each.
    parts: usize,
    part: usize,
}

/// Outputs and the axes they are combined over.
struct Group<'a> {
    kernel: &'a LoopKernel,
    buffers: &'a [Buffer],
    /// Combined ones, in order.
    combined: Vec<&'a LoopOutput>,
    /// All that are evaluated: the combined ones, and those stored at each point.
    all: Vec<&'a LoopOutput>,
    kept: Vec<usize>,
    reduced: Vec<usize>,
    width: usize,
    /// Whether a thread's four points belong to four results.
    inner_kept: bool,
}

/// The launches of outputs that are combined over the same axes, and of some that are stored at each point of the same index
/// space. The kernel is one that [`super::canon::canonical`] made.
pub fn reductions(
    kernel: &LoopKernel,
    combined: Vec<&LoopOutput>,
    stored: &[&LoopOutput],
    buffers: &[Buffer],
) -> Drafts {
    let Some(reduced) = combined.first().map(|o| o.combine.axes().to_vec()) else {
        return Drafts::default();
    };
    let rank = kernel.shape.len();
    let kept: Vec<usize> = (0..rank).filter(|a| !reduced.contains(a)).collect();
    let all: Vec<&LoopOutput> = combined.iter().chain(stored).copied().collect();
    let group = Group {
        width: width(kernel, &all),
        inner_kept: kept.last().is_some_and(|a| a + 1 == rank),
        kernel,
        buffers,
        combined,
        all,
        kept,
        reduced,
    };
    if group.results() == 0 {
        return Drafts::default();
    }
    let split = group.split();
    let first = group.first(split);
    if split.parts == 1 {
        return Drafts {
            launches: vec![first],
            scratch_words: 0,
        };
    }
    Drafts {
        launches: vec![first, group.merge(split)],
        scratch_words: group.scratch(split).1,
    }
}

/// The prelude's accumulator.
fn accumulator(combine: &Combine) -> &'static str {
    match combine {
        Combine::Store | Combine::Sum(_) => "Sum",
        Combine::Max(_) => "Max",
        Combine::Deviations(_) => "Deviations",
    }
}

/// Words of an accumulator.
fn accumulator_words(combine: &Combine) -> usize {
    match combine {
        Combine::Store | Combine::Sum(_) | Combine::Max(_) => 1,
        Combine::Deviations(_) => 3,
    }
}

/// The type that counts to `n` and a little beyond, and the suffix of its numbers.
fn counter(n: usize) -> (&'static str, &'static str) {
    if n < (1 << 31) - (1 << 16) {
        ("unsigned", "u")
    } else {
        ("unsigned long long", "ull")
    }
}

/// The greatest power of two that is at most n, of n at least 1.
fn power_below(n: usize) -> usize {
    1 << n.max(1).ilog2()
}

impl Group<'_> {
    fn size(&self, axes: &[usize]) -> usize {
        let sizes: Vec<usize> = axes.iter().map(|a| self.kernel.shape[*a]).collect();
        points(&sizes)
    }

    fn results(&self) -> usize {
        self.size(&self.kept)
    }

    /// Units along the kept axes: results, or fours of them.
    fn columns(&self) -> usize {
        self.results() / if self.inner_kept { self.width } else { 1 }
    }

    /// Units along the reduced axes: points of each result, or fours of them.
    fn rows(&self) -> usize {
        self.size(&self.reduced) / if self.inner_kept { 1 } else { self.width }
    }

    fn split(&self) -> Split {
        let (columns, rows) = (self.columns(), self.rows().max(1));
        let across = self.inner_kept;
        let (per_block, lanes) = if across {
            let side = columns.next_power_of_two().min(32);
            let lanes = power_below(rows / 4).min(THREADS / side);
            (columns.next_power_of_two().min(THREADS / lanes), lanes)
        } else {
            let lanes = match rows {
                0..=4 => 1,
                5..=255 => 32,
                _ => THREADS,
            };
            (THREADS / lanes, lanes)
        };
        let blocks = columns.div_ceil(per_block);
        let steps = rows.div_ceil(lanes);
        let parts = if blocks >= ENOUGH / 2 {
            1
        } else {
            ENOUGH.div_ceil(blocks).min(steps / LEAST).max(1)
        };
        let part = rows.div_ceil(parts).next_multiple_of(lanes);
        Split {
            columns: per_block,
            lanes,
            across,
            parts: rows.div_ceil(part),
            part,
        }
    }

    /// Words where each output's parts begin, and of all.
    fn scratch(&self, split: Split) -> (Vec<usize>, usize) {
        let mut starts = Vec::new();
        let mut end = 0;
        for output in &self.combined {
            starts.push(end);
            let words = accumulator_words(&output.combine) * split.parts * self.results();
            end += words.next_multiple_of(16);
        }
        (starts, end)
    }

    fn scratch_arguments(&self, split: Split) -> Vec<Argument> {
        let starts = self.scratch(split).0;
        starts.into_iter().map(Argument::Scratch).collect()
    }

    /// Floats of shared memory that merging takes, for each thread.
    fn most_words(&self) -> usize {
        let words = self.combined.iter().map(|o| accumulator_words(&o.combine));
        words.max().unwrap_or(1)
    }

    /// The launch that reads the points: it writes results, or their parts.
    fn first(&self, split: Split) -> Draft {
        let threads = split.columns * split.lanes;
        let mut pointers = Pointers::new(self.buffers);
        declare_loads(&mut pointers, self.kernel, &self.all);
        for output in &self.all {
            if split.parts == 1 || output.combine == Combine::Store {
                pointers.write(output.to.buffer);
            }
        }
        let (mut parameters, mut arguments) = (pointers.parameters(), pointers.arguments());
        if split.parts > 1 {
            let part = |(n, o): (usize, &&LoopOutput)| {
                format!("{}* __restrict__ parts{n}", accumulator(&o.combine))
            };
            parameters.extend(self.combined.iter().enumerate().map(part));
            arguments.extend(self.scratch_arguments(split));
        }
        let mut w = Writer::default();
        w.open(head(threads as u32, &parameters));
        self.declare_shared(
            &mut w,
            split,
            threads,
            if self.inner_kept { self.width } else { 1 },
        );
        let (column, lane) = if split.across {
            (
                format!("threadIdx.x % {}", split.columns),
                format!("threadIdx.x / {}", split.columns),
            )
        } else {
            (
                format!("threadIdx.x / {}", split.lanes),
                format!("threadIdx.x % {}", split.lanes),
            )
        };
        let (kind, suffix) = counter(self.columns());
        w.line(format!(
            "const {kind} column = ({kind})blockIdx.x * {} + {column};",
            split.columns
        ));
        w.line(format!("const unsigned first = {lane};"));
        declare_indices(
            &mut w,
            "column",
            &self.kernel.shape,
            &self.kept,
            self.width,
            kind != "unsigned",
        );
        for (n, output) in self.combined.iter().enumerate() {
            w.line(format!(
                "{} a{n}[{}];",
                accumulator(&output.combine),
                self.width
            ));
        }
        each_lane(&mut w, self.width, |w| {
            for (n, output) in self.combined.iter().enumerate() {
                w.line(format!(
                    "a{n}[lane] = {}::none();",
                    accumulator(&output.combine)
                ));
            }
        });
        let guarded = !self.columns().is_multiple_of(split.columns);
        let inside = format!("column < {}{suffix}", self.columns());
        if self.rows() > 0 {
            if guarded {
                w.open(format!("if ({inside})"));
            }
            self.add_points(&mut w, &pointers, split);
            if guarded {
                w.close();
            }
        }
        let results = self.merge_threads(&mut w, split);
        let mut ends: Vec<String> = Vec::new();
        if split.lanes > 1 {
            ends.push("first == 0".to_string());
        }
        if guarded {
            ends.push(inside);
        }
        if !ends.is_empty() {
            w.open(format!("if ({})", ends.join(" && ")));
        }
        if split.parts == 1 {
            self.store_results(&mut w, &pointers, results);
        } else {
            self.store_parts(&mut w, split, results);
        }
        if !ends.is_empty() {
            w.close();
        }
        w.close();
        Draft {
            source: w.finish(),
            suffix: if split.parts == 1 { "" } else { "_parts" },
            threads: threads as u32,
            shared_bytes: 0,
            arguments,
            grid: [
                blocks(self.columns(), split.columns),
                blocks(split.parts, 1),
                1,
            ],
        }
    }

    /// Room for merging the threads of a result.
    fn declare_shared(&self, w: &mut Writer, split: Split, threads: usize, width: usize) {
        let accumulators = match (split.across, split.lanes) {
            (_, 1) | (false, 2..=32) => return,
            (true, _) => threads * width,
            (false, _) => threads / 32,
        };
        let floats = accumulators * self.most_words();
        w.line(format!("__shared__ float shared[{floats}];"));
    }

    /// The loop over a thread's points.
    fn add_points(&self, w: &mut Writer, pointers: &Pointers, split: Split) {
        let shape = &self.kernel.shape;
        let rows = self.rows();
        let (kind, suffix) = counter(rows + split.part);
        let (from, to) = if split.parts == 1 {
            ("first".to_string(), format!("{rows}{suffix}"))
        } else {
            let part = format!("({kind})blockIdx.y * {}{suffix}", split.part);
            w.line(format!("const {kind} begin = {part};"));
            let end = format!("begin + {}{suffix}", split.part);
            if rows.is_multiple_of(split.part) {
                w.line(format!("const {kind} end = {end};"));
            } else {
                w.line(format!(
                    "const {kind} end = {end} < {rows}{suffix} ? {end} : {rows}{suffix};"
                ));
            }
            ("begin + first".to_string(), "end".to_string())
        };
        w.line(format!(
            "#pragma unroll {}",
            if self.width == 1 { 4 } else { 2 }
        ));
        w.open(format!(
            "for ({kind} row = {from}; row < {to}; row += {})",
            split.lanes
        ));
        declare_indices(
            w,
            "row",
            shape,
            &self.reduced,
            self.width,
            kind != "unsigned",
        );
        let lane = if self.width == 1 { "0" } else { "lane" };
        evaluate(
            w,
            self.kernel,
            pointers,
            self.width,
            &self.all,
            |w, values| {
                for (n, output) in self.combined.iter().enumerate() {
                    let value = &values.registers[output.value as usize];
                    w.line(format!("a{n}[{lane}].add({value});"));
                }
            },
        );
        w.close();
    }

    /// Merges what the threads of a result have; returns how many results a thread has then.
    fn merge_threads(&self, w: &mut Writer, split: Split) -> usize {
        let several = self.width > 1 && !self.inner_kept;
        for n in 0..self.combined.len() {
            if several {
                w.line("#pragma unroll");
                w.open(format!("for (int lane = 1; lane < {}; lane++)", self.width));
                w.line(format!("a{n}[0].merge(a{n}[lane]);"));
                w.close();
            }
            match (split.across, split.lanes) {
                (_, 1) => {}
                (true, lanes) => w.line(format!(
                    "across_lanes<{}, {lanes}>(a{n}, shared);",
                    split.columns
                )),
                (false, 2..=32) => w.line(format!("a{n}[0] = across_warp(a{n}[0]);")),
                (false, lanes) => {
                    w.line(format!("a{n}[0] = across_block<{lanes}>(a{n}[0], shared);"));
                }
            }
        }
        if several { 1 } else { self.width }
    }

    /// Stores each result of a thread at its place.
    fn store_results(&self, w: &mut Writer, pointers: &Pointers, results: usize) {
        let shape = &self.kernel.shape;
        let index = self.result_index();
        let mut lanes = index.clone();
        if let (Some(inner), true) = (lanes.last_mut(), results > 1) {
            *inner = format!("{inner} + lane");
        }
        for (n, output) in self.combined.iter().enumerate() {
            let pointer = pointers.name(output.to.buffer);
            if results == 1 {
                let at = place(&output.to, shape, &index);
                w.line(format!("store({pointer} + {at}, a{n}[0].result());"));
            } else if is_wide(&output.to) {
                let at = place(&output.to, shape, &index);
                w.line(format!("float y{n}[{results}];"));
                each_lane(w, results, |w| {
                    w.line(format!("y{n}[lane] = a{n}[lane].result();"))
                });
                w.line(format!("store4({pointer} + {at}, y{n});"));
            } else {
                let at = place(&output.to, shape, &lanes);
                each_lane(w, results, |w| {
                    w.line(format!("store({pointer} + {at}, a{n}[lane].result());"));
                });
            }
        }
    }

    /// The index of a result along each axis; reduced axes do not move an output.
    fn result_index(&self) -> Vec<String> {
        let mut index: Vec<String> = (0..self.kernel.shape.len()).map(index_name).collect();
        self.reduced
            .iter()
            .for_each(|a| index[*a] = "0".to_string());
        index
    }

    /// Stores each accumulator of a thread for [`Group::merge`], which reads them as [part, result].
    fn store_parts(&self, w: &mut Writer, split: Split, results: usize) {
        let kind = counter(split.parts * self.results()).0;
        let begin = format!("({kind})blockIdx.y * {}", self.results());
        for n in 0..self.combined.len() {
            if results == 1 {
                w.line(format!("parts{n}[{begin} + column] = a{n}[0];"));
            } else {
                let at = format!("{begin} + column * {results} + lane");
                each_lane(w, results, |w| {
                    w.line(format!("parts{n}[{at}] = a{n}[lane];"))
                });
            }
        }
    }

    /// The launch that merges the parts of each result.
    fn merge(&self, split: Split) -> Draft {
        let results = self.results();
        let columns = results.next_power_of_two().min(32);
        let lanes = power_below(split.parts).min(THREADS / columns);
        let threads = columns * lanes;
        let shape = &self.kernel.shape;
        let mut pointers = Pointers::new(self.buffers);
        self.combined
            .iter()
            .for_each(|o| pointers.write(o.to.buffer));
        let mut parameters = pointers.parameters();
        let part = |(n, o): (usize, &&LoopOutput)| {
            format!("const {}* __restrict__ parts{n}", accumulator(&o.combine))
        };
        parameters.extend(self.combined.iter().enumerate().map(part));
        let mut arguments = pointers.arguments();
        arguments.extend(self.scratch_arguments(split));
        let merging = Split {
            columns,
            lanes,
            across: true,
            ..split
        };
        let mut w = Writer::default();
        w.open(head(threads as u32, &parameters));
        self.declare_shared(&mut w, merging, threads, 1);
        let (kind, suffix) = counter(split.parts * results);
        w.line(format!(
            "const {kind} column = ({kind})blockIdx.x * {columns} + threadIdx.x % {columns};"
        ));
        w.line(format!("const unsigned first = threadIdx.x / {columns};"));
        let guarded = !results.is_multiple_of(columns);
        let inside = format!("column < {results}{suffix}");
        for (n, output) in self.combined.iter().enumerate() {
            let of = accumulator(&output.combine);
            w.line(format!("{of} a{n}[1] = {{{of}::none()}};"));
        }
        if guarded {
            w.open(format!("if ({inside})"));
        }
        w.open(format!(
            "for (unsigned part = first; part < {}; part += {lanes})",
            split.parts
        ));
        for n in 0..self.combined.len() {
            w.line(format!(
                "a{n}[0].merge(parts{n}[({kind})part * {results}{suffix} + column]);"
            ));
        }
        w.close();
        if guarded {
            w.close();
        }
        if lanes > 1 {
            for n in 0..self.combined.len() {
                w.line(format!("across_lanes<{columns}, {lanes}>(a{n}, shared);"));
            }
        }
        let mut ends = Vec::new();
        if lanes > 1 {
            ends.push("first == 0".to_string());
        }
        if guarded {
            ends.push(inside);
        }
        if !ends.is_empty() {
            w.open(format!("if ({})", ends.join(" && ")));
        }
        declare_indices(&mut w, "column", shape, &self.kept, 1, kind != "unsigned");
        let index = self.result_index();
        for (n, output) in self.combined.iter().enumerate() {
            let at = place(&output.to, shape, &index);
            let pointer = pointers.name(output.to.buffer);
            w.line(format!("store({pointer} + {at}, a{n}[0].result());"));
        }
        if !ends.is_empty() {
            w.close();
        }
        w.close();
        Draft {
            source: w.finish(),
            suffix: "_merge",
            threads: threads as u32,
            shared_bytes: 0,
            arguments,
            grid: [blocks(results, columns), 1, 1],
        }
    }
}
