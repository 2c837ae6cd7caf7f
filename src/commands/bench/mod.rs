//! `sslc bench`: how long a training step takes, and where.
//!
//! - [`compare`]: the same step in PyTorch. [`python`]: the process it runs in.
//! - [`views`]: what the making of views costs, in torchvision as well.
mod compare;
mod python;
pub mod views;

use crate::cli::{Global, SpecArgs};
use crate::compile::{Compilation, Failure, json};
use crate::render::Format;
use crate::report::{Reporter, print};
use compare::{Comparison, Peer};
use serde::Serialize;
use sslc_compiler::exec::Executor;
use sslc_compiler::kernels::compile::Compiled;
use sslc_compiler::program::{Program, View};
use sslc_compiler::step::{self, Part};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use sslc_runtime::cpu::{CpuDevice, measure_bandwidth, measure_peak_flops};
use sslc_runtime::device::Target;
use sslc_runtime::memory;
use sslc_runtime::rng::{Domain, Stream};
use sslc_runtime::train::init;
use sslc_runtime::train::stepper::set_values;
use std::path::Path;
use std::time::Instant;

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    /// Seconds from the spec to ready kernels.
    compile_seconds: f64,
    /// Median.
    step_seconds: f64,
    /// Images of the data set, each with all its views.
    samples_per_second: f64,
    flops_per_step: u64,
    /// Multiply-add rate measured on this machine with these threads.
    peak_flops: f64,
    share_of_peak: f64,
    /// Bytes per second, read and written together, that a copy reaches on this machine with these threads.
    bandwidth: f64,
    /// Of the kernels' floors in the step's time.
    share_of_floor: f64,
    /// Largest resident memory of the process; 0 where the system does not tell.
    peak_memory_bytes: u64,
    arena_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pytorch: Option<Comparison>,
    kernels: Vec<KernelReport>,
}

#[derive(Debug, Serialize)]
struct KernelReport {
    name: String,
    /// Mean of the timed steps.
    seconds: f64,
    flops: u64,
    bytes: u64,
    /// The longer of the times that its operations take at the peak and its bytes at the bandwidth.
    floor_seconds: f64,
}

/// Kernels that the table for people shows.
const SHOWN: usize = 16;

/// What `sslc bench` was asked for beside the spec.
pub struct Request<'a> {
    pub steps: u32,
    pub format: Format,
    /// The Python whose PyTorch runs the same steps in turns with ours.
    pub pytorch: Option<&'a Path>,
}

/// Compiles, warms up, times (micro-)steps on random views and prints what came out.
pub fn run(
    spec: &SpecArgs,
    request: &Request,
    global: &Global,
    reporter: Reporter,
) -> Result<u8, Failure> {
    let idle = memory::resident().unwrap_or(0);
    let begin = Instant::now();
    let compilation = Compilation::from_args(spec)?;
    super::warn(&compilation, reporter);
    let program = &compilation.program;
    let device = device(global)?;
    let part = if program.train.accumulate > 1 {
        Part::Accumulate
    } else {
        Part::Whole
    };
    let step = step::build(program, part, false);
    let mut compiled = Compiled::new(&step.graph, program.options(), &device)?;
    let compile_seconds = begin.elapsed().as_secs_f64();
    let values = init::values(program);
    let views = random_views(program);
    set_values(&mut compiled, program, &values);
    for (view, pixels) in program.views.iter().zip(&views) {
        compiled.set(&format!("view/{}", view.name), pixels);
    }
    for (name, schedule) in &step.schedules {
        compiled.set(&format!("schedule/{name}"), &[schedule.at(0) as f32]);
    }
    let mut peer = match request.pytorch {
        Some(python) => Some(Peer::start(
            python,
            program,
            &values,
            &views,
            super::threads(global),
        )?),
        None => None,
    };
    drop((values, views));
    let peak_flops = measure_peak_flops(super::threads(global));
    compiled.run();
    let mut loss = vec![0.0];
    compiled.get("loss", &mut loss);
    if let Some(peer) = &mut peer {
        peer.steps(2, true)?;
    }
    compiled.loaded().enable_profile(true);
    let mut seconds = Vec::new();
    for _ in 0..request.steps {
        let start = Instant::now();
        compiled.run();
        seconds.push(start.elapsed().as_secs_f64());
        if let Some(peer) = &mut peer {
            peer.steps(1, false)?;
        }
    }
    let step_seconds = median(&mut seconds).unwrap_or(0.0);
    let kernels = compiled.program();
    let flops_per_step = kernels.total_flops();
    let peak_memory_bytes = memory::peak().unwrap_or(0);
    let over_idle = peak_memory_bytes.saturating_sub(idle);
    let bandwidth = measure_bandwidth(super::threads(global));
    let profile = compiled.loaded().profile();
    let floor = |kernel: usize| {
        let compute = kernels.flops(kernel) as f64 / peak_flops;
        compute.max(kernels.bytes(kernel) as f64 / bandwidth)
    };
    let report = Report {
        compile_seconds,
        step_seconds,
        samples_per_second: program.train.batch as f64 / step_seconds,
        flops_per_step,
        peak_flops,
        share_of_peak: flops_per_step as f64 / step_seconds / peak_flops,
        bandwidth,
        share_of_floor: (0..profile.len()).map(floor).sum::<f64>() / step_seconds,
        peak_memory_bytes,
        arena_bytes: 4 * kernels.arena_len as u64,
        pytorch: match peer {
            Some(peer) => Some(peer.finish(step_seconds, f64::from(loss[0]), over_idle)?),
            None => None,
        },
        kernels: profile
            .iter()
            .enumerate()
            .map(|(i, time)| KernelReport {
                name: kernels.kernels[i].name.clone(),
                seconds: time.as_secs_f64() / f64::from(request.steps),
                flops: kernels.flops(i),
                bytes: kernels.bytes(i),
                floor_seconds: floor(i),
            })
            .collect(),
    };
    print(&match request.format {
        Format::Json => json(&report),
        Format::Text => table(&report),
    });
    Ok(0)
}

/// The CPU, which is the only device whose kernels are timed: no GPU is looked for unless it is asked for.
fn device(global: &Global) -> Result<CpuDevice, Diagnostic> {
    let name = match global.device.as_str() {
        "auto" => "cpu",
        name => name,
    };
    let why = match super::open(name, global)? {
        Target::Cpu(device, _) => return Ok(device),
        Target::Cuda(_) => "bench times the kernels of the CPU device alone",
        Target::Reference => "bench times kernels of a device, and the reference has none",
    };
    Err(Diagnostic::new(codes::E0750, why).help("use --device cpu"))
}

/// The middle of some times; `None` of none.
fn median(seconds: &mut [f64]) -> Option<f64> {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

/// For each view pixels of zero mean and unit variance, [B, H, W, C].
fn random_views(program: &Program) -> Vec<Vec<f32>> {
    let one = |(i, view): (usize, &View)| {
        let mut draws = Stream::new(program.train.seed, Domain::Views, i as u32, 0, 0);
        let len = program.train.batch * view.height * view.width * view.channels;
        (0..len).map(|_| draws.uniform(-1.7, 1.7) as f32).collect()
    };
    program.views.iter().enumerate().map(one).collect()
}

fn table(report: &Report) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut out = format!(
        "compiled in {:.2} s, {} kernels\n\
         step         {:.4} s (median)\n\
         samples/s    {:.1}\n\
         FLOPs/step   {:.3e}\n\
         peak FLOP/s  {:.3e}, of which {:.1} % are reached\n\
         bandwidth    {:.1} GB/s; the kernels' floors are {:.1} % of the step\n\
         memory       {:.0} MiB at most, {:.0} MiB of them the arena\n\n",
        report.compile_seconds,
        report.kernels.len(),
        report.step_seconds,
        report.samples_per_second,
        report.flops_per_step as f64,
        report.peak_flops,
        100.0 * report.share_of_peak,
        report.bandwidth * 1e-9,
        100.0 * report.share_of_floor,
        mib(report.peak_memory_bytes),
        mib(report.arena_bytes),
    );
    if let Some(peer) = &report.pytorch {
        out.push_str(&format!(
            "PyTorch {}, in turns with these steps, from the same weights and views\n\
             step         {:.4} s (median), {:.2} times ours\n\
             loss         {:.6}, ours {:.6}\n\
             memory       {:.0} MiB over the idle process; ours is {:.2} of that\n\n",
            peer.version,
            peer.step_seconds,
            peer.speedup,
            peer.losses[0],
            peer.losses[1],
            mib(peer.peak_memory_bytes),
            peer.memory_ratio,
        ));
    }
    let mut order: Vec<&KernelReport> = report.kernels.iter().collect();
    order.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    out.push_str("   ms/step  GFLOP/s     GB/s   floor  kernel\n");
    for kernel in order.iter().take(SHOWN) {
        let rate = |amount: u64| amount as f64 / kernel.seconds.max(1e-12) * 1e-9;
        out.push_str(&format!(
            "{:10.3} {:8.1} {:8.1} {:5.0} %  {}\n",
            kernel.seconds * 1e3,
            rate(kernel.flops),
            rate(kernel.bytes),
            100.0 * kernel.floor_seconds / kernel.seconds.max(1e-12),
            kernel.name
        ));
    }
    if let Some(rest) = order.len().checked_sub(SHOWN).filter(|n| *n > 0) {
        let seconds: f64 = order[SHOWN..].iter().map(|k| k.seconds).sum();
        out.push_str(&format!(
            "{:10.3}                            {rest} others\n",
            seconds * 1e3
        ));
    }
    out
}
