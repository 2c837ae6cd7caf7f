//! Values made again: the same bits in less memory, limits, and what cannot be met.

use super::{drawn, net};
use crate::core::graph::Graph;
use crate::core::interp::Inputs;
use crate::core::random;
use crate::exec::Executor;
use crate::kernels::build::Options;
use crate::kernels::compile::Compiled;
use crate::kernels::interp::Interpreter;
use crate::kernels::text::text;
use crate::kernels::verify::verify;
use proptest::prelude::*;

fn limited(graph: &Graph, bytes: u64) -> Result<Compiled, String> {
    let options = Options {
        memory: Some(bytes),
        ..Options::default()
    };
    Compiled::new(graph, options, &Interpreter).map_err(|d| {
        assert_eq!(d.code.name(), "E0704");
        d.message
    })
}

/// More than any of these programs needs: nothing is made again.
const PLENTY: u64 = 1 << 40;

fn arena(compiled: &Compiled) -> u64 {
    4 * compiled.program().arena_len as u64
}

/// All outputs after two steps.
fn outputs(compiled: &mut Compiled, inputs: &Inputs) -> Vec<(String, Vec<u32>)> {
    for (name, tensor) in inputs {
        let data: Vec<f32> = tensor.data.iter().map(|x| *x as f32).collect();
        compiled.set(name, &data);
    }
    compiled.run();
    compiled.run();
    let mut value = Vec::new();
    let read = |(name, _): (String, Vec<usize>)| {
        assert!(compiled.get(&name, &mut value));
        (name, value.iter().map(|v| v.to_bits()).collect())
    };
    compiled.outputs().into_iter().map(read).collect()
}

/// The least arena that a search over limits finds, and the program that has it.
fn least(graph: &Graph) -> Compiled {
    let mut best = limited(graph, PLENTY).unwrap();
    while let Ok(next) = limited(graph, arena(&best) - 4) {
        best = next;
    }
    best
}

#[test]
fn less_memory_gives_the_same_bits() {
    let graph = net::step(net::TINY);
    let inputs = drawn(&graph);
    let mut plenty = limited(&graph, PLENTY).unwrap();
    let mut least = least(&graph);
    assert!(plenty.program().again.is_empty());
    assert!(
        !least.program().again.is_empty(),
        "{}",
        text(least.program())
    );
    assert!(
        10 * arena(&least) < 9 * arena(&plenty),
        "{} of {}",
        arena(&least),
        arena(&plenty)
    );
    assert_eq!(outputs(&mut plenty, &inputs), outputs(&mut least, &inputs));
    let line = |c: &Compiled| text(c.program()).contains("% of the step (0.4 % at most");
    assert!(line(&least) && !line(&plenty));
}

#[test]
fn a_limit_is_kept_and_what_is_too_little_is_refused() {
    let graph = net::step(net::TINY);
    let plenty = arena(&limited(&graph, PLENTY).unwrap());
    let limit = plenty * 95 / 100;
    let compiled = limited(&graph, limit).unwrap();
    assert!(arena(&compiled) <= limit);
    let message = limited(&graph, 4096).err().unwrap();
    assert!(message.contains("`memory` allows 4.0 KiB"), "{message}");
}

/// Without a limit only cheap values are made again: no contraction runs twice.
#[test]
fn without_a_limit_no_contraction_runs_twice() {
    let graph = net::step(net::TINY);
    let compiled = Compiled::new(&graph, Options::default(), &Interpreter).unwrap();
    let program = compiled.program();
    let plenty = limited(&graph, PLENTY).unwrap();
    assert!(program.arena_len <= plenty.program().arena_len);
    for k in &program.again {
        assert!(program.kernels[*k].name.starts_with("again: "));
        let twice = program.flops(*k) > 64 * program.bytes(*k);
        assert!(!twice, "{}", program.kernels[*k].name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No two live buffers overlap, and values made again have the same bits, in as little memory as can be.
    #[test]
    fn random_programs_keep_their_bits_in_less_memory(seed in 0u64..10_000, size in 4usize..40) {
        let (graph, inputs) = random::program(seed, size);
        let mut plenty = limited(&graph, PLENTY).unwrap();
        let share = arena(&plenty) * 3 / 4;
        let mut least = limited(&graph, share)
            .unwrap_or_else(|_| Compiled::new(&graph, Options::default(), &Interpreter).unwrap());
        prop_assert_eq!(verify(least.program()), Vec::<String>::new());
        prop_assert_eq!(outputs(&mut plenty, &inputs), outputs(&mut least, &inputs));
    }
}
