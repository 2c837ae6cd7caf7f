//! Tests of `core`: the registry checked row by row, and graphs as wholes.
mod gradients;
mod registry;
mod shapes;
mod simplify;
mod text;

/// Property tests try the same programs on every run.
fn property(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    }
}
