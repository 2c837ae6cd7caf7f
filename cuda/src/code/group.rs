//! Kernels that do the same to buffers of other sizes, as one launch: the updates of all parameters.
//!
//! A kernel that only stores, and walks all of its buffers as lists, may run together with later ones of the same body: at the
//! place of the first, where nothing in between touches what they touch. Places of the arena are shared, so that is asked of
//! words, not of buffers.

use super::Argument;
use super::canon::{canonical, points};
use super::draft::{Draft, NAME, Pointers, c_type};
use super::lanes::{WIDTH, evaluate, index_name, width};
use super::writer::Writer;
use sslc_compiler::kernels::ir::{
    Access, Buffer, BufferId, Combine, Element, Inst, KernelKind, KernelProgram, LoopKernel,
    LoopOutput,
};
use sslc_compiler::kernels::verify::touched;

/// Threads of a block.
const THREADS: usize = 256;
/// Pointers of a launch.
const MOST_POINTERS: usize = 480;

/// A kernel that may share a launch.
struct Member {
    /// Its number.
    kernel: usize,
    /// Over one axis at most, its buffers by number among [`Member::buffers`].
    form: LoopKernel,
    /// Buffers in the order they are met, and how they are stored.
    buffers: Vec<BufferId>,
    elements: Vec<Element>,
    /// Elements, and how many of them a thread takes.
    size: usize,
    width: usize,
}

/// Words of the arena, from and to.
type Range = (usize, usize);

/// The words that a kernel reads, and those it writes.
struct Touched {
    reads: Vec<Range>,
    writes: Vec<Range>,
}

impl Touched {
    /// Whether two kernels may change places.
    fn apart(&self, other: &Touched) -> bool {
        let meet =
            |a: &[Range], b: &[Range]| a.iter().any(|a| b.iter().any(|b| a.0 < b.1 && b.0 < a.1));
        !meet(&self.writes, &other.writes)
            && !meet(&self.writes, &other.reads)
            && !meet(&self.reads, &other.writes)
    }
}

/// Launches of several kernels each, by the number of the first, and the numbers of all kernels in them.
#[derive(Default)]
pub struct Groups {
    pub launches: Vec<(usize, Draft)>,
    pub grouped: Vec<usize>,
}

/// Finds the groups of a program.
pub fn groups(program: &KernelProgram) -> Groups {
    let mut members: Vec<Option<Member>> = (0..program.kernels.len())
        .map(|k| member(program, k))
        .collect();
    let touched: Vec<Touched> = (0..program.kernels.len())
        .map(|k| ranges(program, k))
        .collect();
    let mut found = Groups::default();
    for first in 0..members.len() {
        let Some(leader) = members[first].take() else {
            continue;
        };
        let most = MOST_POINTERS / leader.buffers.len().max(1);
        let mut group = vec![leader];
        for later in first + 1..members.len() {
            let alike = |m: &Member| group[0].is_like(m);
            let moves = || (first..later).all(|k| touched[later].apart(&touched[k]));
            if group.len() < most && members[later].as_ref().is_some_and(alike) && moves() {
                group.extend(members[later].take());
            }
        }
        if group.len() > 1 {
            found.grouped.extend(group.iter().map(|m| m.kernel));
            found
                .launches
                .push((first, draft(&group, &program.buffers)));
        }
    }
    found
}

fn ranges(program: &KernelProgram, kernel: usize) -> Touched {
    let range = |b: BufferId| {
        let buffer = &program.buffers[b.0 as usize];
        (buffer.offset, buffer.offset + buffer.words())
    };
    let (reads, writes) = touched(&program.kernels[kernel]);
    Touched {
        reads: reads.into_iter().map(range).collect(),
        writes: writes.into_iter().map(range).collect(),
    }
}

fn member(program: &KernelProgram, kernel: usize) -> Option<Member> {
    let KernelKind::Loop(body) = &program.kernels[kernel].kind else {
        return None;
    };
    let mut form = canonical(body);
    let size = points(&form.shape);
    let outputs: Vec<&LoopOutput> = form.outputs.iter().collect();
    let width = width(&form, &outputs);
    let is_list = |a: &Access| {
        a.offset == 0
            && a.valid.iter().all(Option::is_none)
            && a.strides.iter().all(|s| matches!(s, 0 | 1))
    };
    let simple = form.shape.len() == 1
        && size > 0
        && size < i32::MAX as usize - THREADS
        && form.outputs.iter().all(|o| o.combine == Combine::Store)
        && form
            .loads()
            .chain(form.outputs.iter().map(|o| &o.to))
            .all(is_list)
        && !form.body.iter().any(|i| matches!(i, Inst::Index(_)));
    if !simple {
        return None;
    }
    let mut buffers: Vec<BufferId> = Vec::new();
    let mut number = |access: &mut Access| {
        let known = buffers.iter().position(|b| *b == access.buffer);
        let at = known.unwrap_or(buffers.len());
        if known.is_none() {
            buffers.push(access.buffer);
        }
        access.buffer = BufferId(at as u32);
    };
    for inst in &mut form.body {
        if let Inst::Load(access) = inst {
            number(access);
        }
    }
    form.outputs.iter_mut().for_each(|o| number(&mut o.to));
    // Sizes differ within a group.
    form.shape = vec![WIDTH];
    let element = |b: &BufferId| program.buffers[b.0 as usize].element;
    Some(Member {
        kernel,
        elements: buffers.iter().map(element).collect(),
        form,
        buffers,
        size,
        width,
    })
}

impl Member {
    fn is_like(&self, other: &Member) -> bool {
        self.width == other.width && self.elements == other.elements && self.form == other.form
    }

    fn units(&self) -> usize {
        self.size / self.width
    }

    fn blocks(&self) -> usize {
        self.units().div_ceil(THREADS)
    }
}

/// The launch of a group: each block belongs to one member, whose pointers it finds in a table.
fn draft(group: &[Member], buffers: &[Buffer]) -> Draft {
    let leader = &group[0];
    let slots = leader.buffers.len();
    // Places are those of the largest member.
    let size = group.iter().map(|m| m.size).max().unwrap_or(0);
    let kernel = LoopKernel {
        shape: vec![size],
        ..leader.form.clone()
    };
    let stand_in: Vec<Buffer> = leader
        .buffers
        .iter()
        .map(|b| buffers[b.0 as usize].clone())
        .collect();
    let mut pointers = Pointers::new(&stand_in);
    (0..slots).for_each(|slot| pointers.read(BufferId(slot as u32)));
    let mut w = Writer::default();
    w.open(format!("struct {NAME}_table"));
    w.line(format!("void* of[{}];", group.len() * slots));
    w.close_with("};");
    w.line("");
    w.open(format!(
        "extern \"C\" __global__ void __launch_bounds__({THREADS}) {NAME}(const __grid_constant__ {NAME}_table table)"
    ));
    let mut end = 0;
    let mut begins = Vec::new();
    for member in group {
        begins.push(end.to_string());
        end += member.blocks();
    }
    let units: Vec<String> = group.iter().map(|m| m.units().to_string()).collect();
    let n = group.len();
    w.line(format!(
        "static const unsigned begins[{n}] = {{{}}};",
        begins.join(", ")
    ));
    w.line(format!(
        "static const unsigned units[{n}] = {{{}}};",
        units.join(", ")
    ));
    w.line("int member = 0;");
    w.open(format!(
        "for (int half = {}; half > 0; half /= 2)",
        n.next_power_of_two() / 2
    ));
    w.open(format!(
        "if (member + half < {n} && blockIdx.x >= begins[member + half])"
    ));
    w.line("member += half;");
    w.close();
    w.close();
    w.line(format!(
        "const unsigned at = (blockIdx.x - begins[member]) * {THREADS} + threadIdx.x;"
    ));
    w.open("if (at >= units[member])");
    w.line("return;");
    w.close();
    for (slot, element) in leader.elements.iter().enumerate() {
        let kind = c_type(*element);
        let written = leader
            .form
            .outputs
            .iter()
            .any(|o| o.to.buffer.0 as usize == slot);
        let constant = if written { "" } else { "const " };
        w.line(format!(
            "{constant}{kind}* const p{slot} = ({constant}{kind}*)table.of[member * {slots} + {slot}];"
        ));
    }
    let step = match leader.width {
        1 => String::new(),
        width => format!(" * {width}u"),
    };
    w.line(format!("const int {} = at{step};", index_name(0)));
    let outputs: Vec<&LoopOutput> = kernel.outputs.iter().collect();
    evaluate(
        &mut w,
        &kernel,
        &pointers,
        leader.width,
        &outputs,
        |_, _| {},
    );
    w.close();
    let table = group.iter().flat_map(|m| &m.buffers).copied().collect();
    Draft {
        source: w.finish(),
        suffix: "_and_others",
        threads: THREADS as u32,
        shared_bytes: 0,
        arguments: vec![Argument::Table(table)],
        grid: [u32::try_from(end).unwrap_or(u32::MAX), 1, 1],
    }
}
