//! What the assembler makes of the networks' kernels.

use super::cases::{Case, networks};
use crate::code::PRELUDE;
use crate::code::draft::Draft;
use crate::tests::{assembled, nvrtc};
use sslc_compiler::kernels::ir::Element;
use std::collections::HashSet;

/// Architectures that every function is assembled for.
const ARCHITECTURES: [i32; 2] = [80, 90];
/// Shared memory of a multiprocessor and of a block, in bytes, and what a block takes for the system: of an H100.
const SHARED: u32 = 228 << 10;
const SHARED_OF_BLOCK: u32 = 227 << 10;
const SHARED_OF_SYSTEM: u32 = 1 << 10;

/// What the assembler says of a function.
struct Assembled {
    registers: u32,
    shared: u32,
    spilled: u32,
}

fn assemble(draft: &Draft, architecture: i32) -> Option<Assembled> {
    let source = format!("{PRELUDE}\n{}", draft.source);
    let log = assembled(nvrtc()?, &source, architecture);
    let number = |before: &str, after: &str| {
        let end = log.find(after)?;
        let begin = log[..end].rfind(before)? + before.len();
        log[begin..end].trim().parse().ok()
    };
    Some(Assembled {
        registers: number("Used", " registers").expect("the assembler tells registers"),
        spilled: number(",", " bytes spill stores").expect("the assembler tells spills"),
        shared: draft.shared_bytes + number(",", " bytes smem").unwrap_or(0),
    })
}

/// Blocks that a multiprocessor holds.
fn resident(draft: &Draft, found: &Assembled) -> u32 {
    // Registers are given to warps by 256.
    let registers = (found.registers * 32).next_multiple_of(256) * draft.threads / 32;
    let by_shared = SHARED / (found.shared + SHARED_OF_SYSTEM);
    (65536 / registers).min(by_shared).min(2048 / draft.threads)
}

/// The distinct functions of cases, with the name of the first that has each.
fn functions(cases: &[Case]) -> Vec<(String, Draft)> {
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for case in cases {
        for draft in case.drafts().0.launches {
            if seen.insert(draft.source.clone()) {
                all.push((format!("{}{}", case.name, draft.suffix), draft));
            }
        }
    }
    all
}

fn hold(name: &str, draft: &Draft, architecture: i32) {
    let Some(found) = assemble(draft, architecture) else {
        return;
    };
    assert_eq!(found.spilled, 0, "{name} spills on sm_{architecture}");
    assert!(found.shared <= SHARED_OF_BLOCK, "{name}: {}", found.shared);
    println!(
        "sm_{architecture} | {name} | {} | {} | {} | {} | {}",
        draft.threads,
        found.registers,
        found.shared,
        resident(draft, &found),
        draft.grid[0]
    );
}

/// One function of each kind: of each way to read the operands, with and without loops. They take turns with architectures.
fn hold_kinds(element: Element) {
    let mut kinds = HashSet::new();
    let mut some = networks();
    some.retain(|c| c.element() == element && kinds.insert(c.kind()));
    assert!(some.len() > 20);
    for (turn, (name, draft)) in functions(&some).iter().enumerate() {
        hold(name, draft, ARCHITECTURES[turn % 2]);
    }
}

#[test]
fn functions_of_f32_do_not_spill() {
    hold_kinds(Element::F32);
}

#[test]
fn functions_of_bf16_do_not_spill() {
    hold_kinds(Element::Bf16);
}

/// All of them, with a line of the table in docs/cuda.md each.
#[test]
#[ignore = "minutes"]
fn all_functions_of_the_networks_do_not_spill() {
    for (name, draft) in functions(&networks()) {
        for architecture in ARCHITECTURES {
            hold(&name, &draft, architecture);
        }
    }
}
