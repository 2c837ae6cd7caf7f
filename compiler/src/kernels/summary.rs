//! The memory plan in words: what the arena holds, and what is live where it is fullest.

use super::cost;
use super::ir::{Buffer, BufferId, BufferKind, KernelProgram};
use super::recompute::Goal;
use super::text::reference;
use super::verify::touched;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Buffers of a group that are named.
const SHOWN: usize = 8;

/// `1.5 GiB`, `682.9 MiB`, `12.0 KiB`, `96 bytes`
pub fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes} bytes"),
    }
}

/// What a buffer that keeps its place is for.
fn purpose(buffer: &Buffer) -> &'static str {
    match buffer.kind {
        BufferKind::Input if buffer.name.starts_with("view/") => "views",
        BufferKind::Input => "other inputs",
        BufferKind::State if buffer.name.starts_with("param/") => "parameters",
        BufferKind::State if buffer.name.starts_with("buffer/") => "running statistics",
        BufferKind::State => "optimizer",
        BufferKind::Output => "outputs",
        BufferKind::Temporary | BufferKind::Piecewise => "temporaries",
    }
}

/// The first and the last kernel that touch each temporary.
fn lifetimes(program: &KernelProgram) -> BTreeMap<usize, (usize, usize)> {
    let mut life: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (k, kernel) in program.kernels.iter().enumerate() {
        let (reads, writes) = touched(kernel);
        for b in reads.iter().chain(&writes).map(|b| b.0 as usize) {
            if program.buffers[b].kind == BufferKind::Temporary {
                life.entry(b).or_insert((k, k)).1 = k;
            }
        }
    }
    life
}

/// Live temporaries, largest first, at the kernel where they take the most room.
pub fn peak(program: &KernelProgram) -> (usize, Vec<usize>) {
    let life = lifetimes(program);
    let mut change = vec![0i64; program.kernels.len() + 1];
    for (b, (first, last)) in &life {
        change[*first] += program.buffers[*b].words() as i64;
        change[*last + 1] -= program.buffers[*b].words() as i64;
    }
    let (mut live, mut most, mut at) = (0, 0, 0);
    for (k, change) in change.iter().enumerate() {
        live += change;
        if live > most {
            (most, at) = (live, k);
        }
    }
    let mut held: Vec<usize> = life
        .iter()
        .filter(|(_, (first, last))| *first <= at && at <= *last)
        .map(|(b, _)| *b)
        .collect();
    held.sort_by_key(|b| (Reverse(program.buffers[*b].bytes()), *b));
    (at, held)
}

/// Kernels that the loss depends on, and those that make their values again: the forward pass.
fn forward(program: &KernelProgram) -> BTreeSet<usize> {
    let mut maker: BTreeMap<BufferId, usize> = BTreeMap::new();
    let mut from: Vec<Vec<usize>> = Vec::with_capacity(program.kernels.len());
    let mut last = None;
    for (k, kernel) in program.kernels.iter().enumerate() {
        let (reads, writes) = touched(kernel);
        from.push(reads.iter().filter_map(|b| maker.get(b).copied()).collect());
        for b in writes {
            if program.buffers[b.0 as usize].name == "loss" {
                last = Some(k);
            }
            maker.insert(b, k);
        }
    }
    let mut found: BTreeSet<usize> = program.again.iter().copied().collect();
    let mut open: Vec<usize> = last.into_iter().collect();
    while let Some(k) = open.pop() {
        if found.insert(k) {
            open.extend(&from[k]);
        }
    }
    found
}

/// The plan, as the stage `kernels` ends with it.
pub fn plan_text(out: &mut String, program: &KernelProgram) {
    let _ = writeln!(
        out,
        "arena: {} bytes, {} in {} buffers",
        4 * program.arena_len,
        size(4 * program.arena_len as u64),
        program.buffers.len()
    );
    let mut kept: Vec<(&str, usize)> = Vec::new();
    for buffer in &program.buffers {
        let purpose = purpose(buffer);
        match kept.iter_mut().find(|(p, _)| *p == purpose) {
            Some((_, bytes)) => *bytes += buffer.bytes(),
            None => kept.push((purpose, buffer.bytes())),
        }
    }
    kept.retain(|(p, _)| *p != "temporaries");
    let kept: Vec<String> = kept
        .iter()
        .map(|(p, bytes)| format!("{p} {}", size(*bytes as u64)))
        .collect();
    let _ = writeln!(out, "  at all times: {}", kept.join(", "));
    let (at, held) = peak(program);
    if let Some(kernel) = program.kernels.get(at) {
        let live: usize = held.iter().map(|b| program.buffers[*b].bytes()).sum();
        let _ = writeln!(
            out,
            "  most temporaries at kernel {at} ({}): {}",
            kernel.name,
            size(live as u64)
        );
    }
    groups(out, program, &held);
    if !program.again.is_empty() {
        let bytes: u64 = program.again.iter().map(|k| program.bytes(*k)).sum();
        let flops: u64 = program.again.iter().map(|k| program.flops(*k)).sum();
        let seconds = |k: usize| cost::seconds(program.flops(k), program.bytes(k));
        let again: f64 = program.again.iter().map(|k| seconds(*k)).sum();
        let all: f64 = (0..program.kernels.len()).map(seconds).sum();
        let _ = writeln!(
            out,
            "  made again: {} values, for {flops} FLOP and {} read and written, by estimate {:.1} % of the step ({:.1} % at most unless `memory` asks for more)",
            program.again.len(),
            size(bytes),
            100.0 * again / (all - again),
            100.0 * Goal::CHEAP_SHARE
        );
    }
}

/// The temporaries that are live at the peak: those of the forward pass, then those of the backward pass.
fn groups(out: &mut String, program: &KernelProgram, held: &[usize]) {
    let forward = forward(program);
    let mut maker: BTreeMap<usize, usize> = BTreeMap::new();
    for (k, kernel) in program.kernels.iter().enumerate() {
        for b in touched(kernel).1 {
            maker.entry(b.0 as usize).or_insert(k);
        }
    }
    let is_forward = |b: &&usize| maker.get(b).is_some_and(|k| forward.contains(k));
    let (activations, gradients): (Vec<&usize>, Vec<&usize>) = held.iter().partition(is_forward);
    for (name, group) in [
        ("activations", activations),
        ("gradients and others", gradients),
    ] {
        if group.is_empty() {
            continue;
        }
        let bytes: usize = group.iter().map(|b| program.buffers[**b].bytes()).sum();
        let _ = writeln!(
            out,
            "    {name}: {} in {} buffers",
            size(bytes as u64),
            group.len()
        );
        for b in group.iter().take(SHOWN) {
            let buffer = &program.buffers[**b];
            let _ = write!(
                out,
                "      {} {:?} {} at {}",
                reference(program, BufferId(**b as u32)),
                buffer.shape,
                size(buffer.bytes() as u64),
                buffer.offset
            );
            let _ = match maker.get(*b) {
                Some(k) => writeln!(out, ", of kernel {k} ({})", program.kernels[*k].name),
                None => writeln!(out),
            };
        }
        if let Some(rest) = group.len().checked_sub(SHOWN).filter(|n| *n > 0) {
            let _ = writeln!(out, "      and {rest} smaller");
        }
    }
}
