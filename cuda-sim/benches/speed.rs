//! How many instructions a second the simulated device executes, with all checks: `cargo bench -p sslc-cuda-sim`.
use sslc_cuda_sim::{Argument, Argument::*, Device, Module};
use std::time::Instant;

/// One launch: a name, a kernel of a module, blocks, threads, dynamic shared memory and arguments.
type Case<'a> = (
    &'a str,
    &'a Module,
    &'a str,
    [u32; 3],
    [u32; 3],
    u32,
    Vec<Argument>,
);

fn main() -> Result<(), String> {
    let mut device = Device::default();
    let load = |device: &mut Device, name: &str| {
        let path = format!("{}/tests/kernels/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
        device.load(&std::fs::read_to_string(path).map_err(|e| e.to_string())?)
    };
    let matmul = load(&mut device, "matmul")?;
    let elementwise = load(&mut device, "elementwise")?;
    let reduction = load(&mut device, "reduction")?;
    let pipeline = load(&mut device, "pipeline")?;
    let (side, many) = (256, 1 << 20);
    let x = device.upload_f32(&vec![1.0; many])?;
    let y = device.empty(many * 4)?;
    let sizes = [side; 3].map(I32);
    let cases: [Case; 5] = [
        (
            "product in tiles",
            &matmul,
            "tiled",
            [16, 16, 1],
            [16, 16, 1],
            0,
            [&[Pointer(x), Pointer(x), Pointer(y)], &sizes[..]].concat(),
        ),
        (
            "four values a thread",
            &elementwise,
            "scale_and_shift",
            [2048, 1, 1],
            [128, 1, 1],
            0,
            vec![Pointer(x), Pointer(y), F32(2.0), I32(many as i32)],
        ),
        (
            "functions",
            &elementwise,
            "functions",
            [512, 1, 1],
            [128, 1, 1],
            0,
            vec![Pointer(x), Pointer(y), I32(65536)],
        ),
        (
            "sums of rows",
            &reduction,
            "row_sums",
            [1000, 1, 1],
            [256, 1, 1],
            0,
            vec![Pointer(x), Pointer(y)],
        ),
        (
            "asynchronous copies",
            &pipeline,
            "right",
            [1, 1, 1],
            [256, 1, 1],
            3072,
            vec![Pointer(x), Pointer(y), I32(4000)],
        ),
    ];
    println!(
        "{:22} {:>8} {:>14} {:>18}",
        "", "seconds", "Mwarp-instr/s", "Mthread-instr/s"
    );
    for (name, module, kernel, grid, threads, shared, arguments) in &cases {
        let mut best = f64::INFINITY;
        let mut instructions = 0;
        for _ in 0..3 {
            let (before, start) = (device.instructions, Instant::now());
            device.launch(module, kernel, *grid, *threads, *shared, arguments)?;
            best = best.min(start.elapsed().as_secs_f64());
            instructions = device.instructions - before;
        }
        let rate = instructions as f64 / best / 1e6;
        println!("{name:22} {best:8.3} {rate:14.1} {:18.0}", rate * 32.0);
    }
    Ok(())
}
