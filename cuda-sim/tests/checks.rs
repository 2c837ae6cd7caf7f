//! Each check: that it finds its mistake, and that a right kernel passes it.
mod support;

use sslc_cuda_sim::{Argument, Argument::*, Device};
use support::{launch, load};

/// A kernel of `wrong.cu` on buffers of the given floats, one block unless said, and numbers.
fn run(
    kernel: &str,
    blocks: u32,
    threads: u32,
    buffers: &[&[f32]],
    numbers: &[i32],
) -> Result<Vec<f32>, String> {
    let mut device = Device::default();
    let module = load(&mut device, "wrong");
    let mut arguments: Vec<Argument> = Vec::new();
    let mut last = (0, 0);
    for buffer in buffers {
        // No numbers: a buffer that nothing wrote.
        let address = match buffer.iter().all(|v| v.is_nan()) {
            true => device.empty(buffer.len() * 4).unwrap(),
            false => device.upload_f32(buffer).unwrap(),
        };
        last = (address, buffer.len());
        arguments.push(Pointer(address));
    }
    arguments.extend(numbers.iter().map(|&n| I32(n)));
    launch(&mut device, &module, kernel, (blocks, threads), &arguments)?;
    device.download_f32(last.0, last.1)
}

const EMPTY: [f32; 64] = [f32::NAN; 64];
const ONES: [f32; 64] = [1.0; 64];

#[track_caller]
fn found(result: Result<Vec<f32>, String>, words: &[&str]) {
    let message = result.expect_err("the mistake was not found");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn one_element_too_many() {
    found(
        run("out_of_bounds", 1, 64, &[&ONES[..32], &EMPTY[..32]], &[32]),
        &[
            "out_of_bounds",
            "thread (32, 0, 0)",
            "ld.global",
            "byte 128 of the 128 that parameter 0 points to: out of bounds",
        ],
    );
    assert_eq!(
        run("out_of_bounds", 1, 64, &[&ONES[..32], &EMPTY[..32]], &[31]).unwrap(),
        ONES[..32]
    );
}

#[test]
fn one_element_too_early() {
    found(
        run("before_the_start", 1, 32, &[&ONES, &EMPTY], &[]),
        &["byte -4 of the 256", "out of bounds"],
    );
}

#[test]
fn a_vector_at_an_odd_place() {
    found(
        run("misaligned", 1, 1, &[&ONES, &EMPTY], &[]),
        &["misaligned"],
    );
}

#[test]
fn a_buffer_within_an_allocation_has_bounds_of_its_own() {
    let mut device = Device::default();
    let module = load(&mut device, "wrong");
    let (x, y) = (
        device.upload_f32(&ONES).unwrap(),
        device.empty(256).unwrap(),
    );
    let launch = |device: &mut Device| {
        launch(
            device,
            &module,
            "copy_all",
            (1, 64),
            &[Pointer(x), Pointer(y)],
        )
    };
    launch(&mut device).unwrap();
    device.memory.marks.insert(x, 128);
    assert!(
        launch(&mut device)
            .unwrap_err()
            .contains("byte 128 of the 128 that parameter 0 points to")
    );
}

#[test]
fn freed_memory_is_gone() {
    let mut device = Device::default();
    let module = load(&mut device, "wrong");
    let (x, y) = (
        device.upload_f32(&ONES).unwrap(),
        device.empty(256).unwrap(),
    );
    device.memory.free(x);
    let message = launch(
        &mut device,
        &module,
        "copy_all",
        (1, 64),
        &[Pointer(x), Pointer(y)],
    )
    .unwrap_err();
    assert!(message.contains("in no allocation"), "{message}");
}

#[test]
fn memory_that_nothing_wrote() {
    found(
        run("copy_all", 1, 64, &[&EMPTY, &EMPTY], &[]),
        &["nothing wrote: uninitialised"],
    );
    assert_eq!(run("copy_all", 1, 64, &[&ONES, &EMPTY], &[]).unwrap(), ONES);
}

#[test]
fn the_host_sees_poison_in_memory_that_nothing_wrote() {
    let mut device = Device::default();
    let address = device.empty(8).unwrap();
    assert!(
        device
            .download_f32(address, 2)
            .unwrap()
            .iter()
            .all(|v| v.is_nan())
    );
}

#[test]
fn shared_memory_that_nothing_wrote() {
    found(
        run("shared_unwritten", 1, 64, &[&EMPTY], &[]),
        &["of shared memory, which nothing wrote: uninitialised"],
    );
}

#[test]
fn shared_memory_beyond_its_array() {
    found(
        run("shared_overrun", 1, 32, &[&EMPTY], &[1]),
        &["of shared memory, outside of every variable"],
    );
    assert_eq!(
        run("shared_overrun", 1, 32, &[&EMPTY[..32]], &[0]).unwrap(),
        ONES[..32]
    );
}

#[test]
fn local_memory_beyond_its_array() {
    found(
        run("local_overrun", 1, 32, &[&EMPTY], &[20]),
        &["of local memory: out of bounds"],
    );
    assert!(run("local_overrun", 1, 32, &[&EMPTY], &[8]).is_ok());
    found(
        run("local_overrun", 1, 32, &[&EMPTY], &[7]),
        &["of local memory, which nothing wrote"],
    );
}

#[test]
fn a_barrier_that_half_of_the_threads_reach() {
    found(
        run("divergent_barrier", 1, 64, &[&EMPTY], &[]),
        &["bar.sync", "divergent barrier"],
    );
}

#[test]
fn a_barrier_after_some_threads_have_left() {
    found(
        run("exit_before_barrier", 1, 64, &[&EMPTY], &[40]),
        &["divergent barrier: lanes 0xffffff00 have exited"],
    );
    found(
        run("exit_before_barrier", 1, 64, &[&EMPTY], &[32]),
        &["a barrier that warp 1 never reaches"],
    );
    assert!(run("exit_before_barrier", 1, 64, &[&EMPTY], &[64]).is_ok());
}

#[test]
fn a_loop_without_an_end() {
    let mut device = Device {
        budget: 100_000,
        ..Device::default()
    };
    let module = load(&mut device, "wrong");
    let (zero, one) = (
        device.upload_f32(&[0.0]).unwrap(),
        device.upload_f32(&[1.0]).unwrap(),
    );
    let message = launch(&mut device, &module, "endless", (1, 1), &[Pointer(zero)]).unwrap_err();
    assert!(message.contains("runs without an end"), "{message}");
    launch(&mut device, &module, "endless", (1, 1), &[Pointer(one)]).unwrap();
}

#[test]
fn blocks_that_write_one_place() {
    found(
        run("blocks_write_one_place", 3, 32, &[&EMPTY], &[]),
        &["writes", "of this launch wrote: a race"],
    );
    assert!(run("blocks_write_one_place", 1, 32, &[&EMPTY], &[]).is_ok());
}

#[test]
fn a_block_that_reads_what_another_writes() {
    found(
        run("block_reads_its_neighbour", 2, 1, &[&ONES], &[]),
        &["of this launch", "a race"],
    );
    assert!(run("block_reads_its_neighbour", 1, 1, &[&ONES], &[]).is_ok());
}

#[test]
fn threads_that_read_what_others_write() {
    found(
        run("neighbours", 1, 64, &[&ONES], &[]),
        &["of this block", "since the last barrier: a race"],
    );
}

#[test]
fn in_place_is_no_race() {
    assert_eq!(run("in_place", 2, 32, &[&ONES], &[]).unwrap(), [2.0; 64]);
    assert!(run("in_place_halves", 4, 32, &[&ONES], &[]).is_ok());
}

#[test]
fn atomics_are_no_race() {
    let y = run("count", 4, 64, &[&[0.0]], &[]).unwrap();
    assert_eq!(y[0].to_bits(), 4 * (63 * 64 / 2));
}

#[test]
fn a_launch_may_read_what_the_last_one_wrote() {
    let mut device = Device::default();
    let module = load(&mut device, "wrong");
    let (x, y) = (
        device.upload_f32(&ONES).unwrap(),
        device.empty(256).unwrap(),
    );
    launch(
        &mut device,
        &module,
        "copy_all",
        (2, 32),
        &[Pointer(x), Pointer(y)],
    )
    .unwrap();
    launch(
        &mut device,
        &module,
        "copy_all",
        (1, 64),
        &[Pointer(y), Pointer(x)],
    )
    .unwrap();
}

#[test]
fn a_shuffle_that_names_lanes_that_do_not_come() {
    found(
        run("shuffle_of_some", 1, 32, &[&EMPTY], &[]),
        &["shfl.sync", "names lanes that never come here"],
    );
    assert!(run("shuffle_of_half", 1, 32, &[&EMPTY], &[]).is_ok());
}

#[test]
fn a_trap() {
    found(run("trapped", 1, 32, &[], &[]), &["a trap"]);
}

fn reduction(kernel: &str, threads: u32, elements: usize) -> Result<(), String> {
    let mut device = Device::default();
    let module = load(&mut device, "reduction");
    let (x, y) = (
        device.upload_f32(&vec![1.0; elements]).unwrap(),
        device.empty(4).unwrap(),
    );
    launch(
        &mut device,
        &module,
        kernel,
        (1, threads),
        &[Pointer(x), Pointer(y)],
    )
}

#[test]
fn a_missing_barrier() {
    let message = reduction("row_sums_racing", 256, 1000).unwrap_err();
    assert!(
        message.contains("of shared memory, which") || message.contains("uninitialised"),
        "{message}"
    );
    reduction("row_sums", 256, 1000).unwrap();
}

#[test]
fn a_missing_synchronisation_of_a_warp() {
    let message = reduction("warp_tail_racing", 32, 64).unwrap_err();
    assert!(
        message.contains("since the last barrier: a race"),
        "{message}"
    );
    reduction("warp_tail_synchronised", 32, 64).unwrap();
}

fn pipeline(kernel: &str) -> Result<(), String> {
    let mut device = Device::default();
    let module = load(&mut device, "pipeline");
    let (x, y) = (
        device.upload_f32(&[1.0; 1280]).unwrap(),
        device.empty(5120).unwrap(),
    );
    device.launch(
        &module,
        kernel,
        [1, 1, 1],
        [256, 1, 1],
        3072,
        &[Pointer(x), Pointer(y), I32(5)],
    )
}

#[test]
fn a_copy_that_has_not_landed() {
    let message = pipeline("waits_too_little").unwrap_err();
    assert!(
        message.contains("where a cp.async has not landed: a wait is missing"),
        "{message}"
    );
    pipeline("right").unwrap();
}

#[test]
fn a_copy_that_another_thread_waited_for() {
    let message = pipeline("no_barrier").unwrap_err();
    assert!(message.contains("of shared memory"), "{message}");
}

#[test]
fn shared_memory_that_the_launch_did_not_ask_for() {
    let mut device = Device::default();
    let module = load(&mut device, "pipeline");
    let (x, y) = (
        device.upload_f32(&[1.0; 1280]).unwrap(),
        device.empty(5120).unwrap(),
    );
    let launched = device.launch(
        &module,
        "right",
        [1, 1, 1],
        [256, 1, 1],
        2048,
        &[Pointer(x), Pointer(y), I32(5)],
    );
    assert!(
        launched
            .unwrap_err()
            .contains("of shared memory: out of bounds")
    );
}

/// A module of one kernel with this body, which may use `%r`, `%rd`, `%f` and `%p` and a parameter.
fn module(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 k_param_0)\n{{\n\
         .reg .b32 %r<9>;\n.reg .b64 %rd<9>;\n.reg .f32 %f<9>;\n.reg .pred %p<9>;\n{body}\nret;\n}}\n"
    )
}

#[test]
fn what_is_not_known_does_not_load() {
    let mut device = Device::default();
    let mut refused = |body: &str, expected: &str| {
        let message = device.load(&module(body)).expect_err("it loaded");
        assert!(
            message.starts_with("line 10: ") && message.contains(expected),
            "{message}"
        );
    };
    refused(
        "wgmma.fence.sync.aligned;",
        "`wgmma.fence.sync.aligned` is not supported",
    );
    refused("sqrt.rm.f32 %f1, %f2;", "`sqrt.rm.f32` is not supported");
    refused("add.cc.u32 %r1, %r2, %r3;", "`add.cc.u32` is not supported");
    refused("mov.u32 %r1, %clock;", "`%clock` is not supported");
    refused(
        "add.s32 %r1, %r2, %rd3;",
        "a register of B64 where one of 4 bytes belongs",
    );
    refused("red.global.add.f32 [%rd1], %f1;", "atomics on floats");
    refused("bra $nowhere;", "there is no label");
    refused("add.s32 %r1, %r2, %r99;", "`%r99` is not supported");
    refused("bar.sync 1;", "only barrier 0");
    assert!(device.load(&module("add.s32 %r1, %r2, %r3;")).is_ok());
}

#[test]
fn what_is_no_ptx_does_not_load() {
    let mut device = Device::default();
    for text in [
        "{",
        ".visible .entry k(",
        "int main() {}",
        "/* open",
        ".version 8.0\n.entry k { add.s32 %r1 }",
    ] {
        assert!(device.load(text).is_err(), "{text}");
    }
}

#[test]
fn every_prefix_of_a_module_is_refused_or_loads() {
    let path = format!("{}/tests/kernels/reduction.ptx", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut device = Device::default();
    let loaded = (0..text.len())
        .step_by(37)
        .filter(|&end| device.load(&text[..end]).is_ok())
        .count();
    assert!(loaded < text.len() / 37 / 2);
}

#[test]
fn what_no_device_has_room_for_does_not_load() {
    let mut device = Device::default();
    for body in [
        ".shared .b8 s[4294967295];",
        ".local .align 3 .b8 l[4];",
        ".local .b8 a[16000000], b[16000000];",
        ".reg .b32 %x<2000000>, %y<2000000>, %z<2000000>;",
        ".shared .b8 s[99999999999999999999];",
    ] {
        assert!(device.load(&module(body)).is_err(), "{body}");
    }
    assert!(
        device
            .load(&module(".local .align 8 .b8 a[16], b[4];"))
            .is_ok()
    );
}
