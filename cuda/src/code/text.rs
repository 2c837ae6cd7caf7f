//! The stage `cuda` as text and JSON.
//!
//! First the launches in order: the kernel's number and name, and what is called with which grid, block and arguments. Then the
//! functions.

use super::{Argument, Code, Launch};
use sslc_compiler::kernels::ir::{BufferId, KernelProgram};
use sslc_compiler::kernels::text::reference;
use std::fmt::Write;

/// The code of a program.
pub fn text(program: &KernelProgram, code: &Code) -> String {
    let mut out = String::new();
    let mut last = None;
    for launch in &code.launches {
        if last != Some(launch.kernel) {
            let name = &program.kernels[launch.kernel].name;
            let _ = writeln!(out, "kernel {}: {name}", launch.kernel);
        }
        last = Some(launch.kernel);
        let _ = writeln!(out, "  {}", launch_text(program, code, launch));
    }
    let _ = writeln!(
        out,
        "{} launches of {} functions, {} bytes of scratch",
        code.launches.len(),
        code.functions.len(),
        4 * code.scratch_words
    );
    for function in &code.functions {
        let _ = write!(out, "\n{}", function.source);
    }
    out
}

/// `name<<<grid, block, shared bytes>>>(arguments)`, as CUDA writes it.
fn launch_text(program: &KernelProgram, code: &Code, launch: &Launch) -> String {
    let function = &code.functions[launch.function];
    let [x, y, z] = launch.grid;
    let grid = match (y, z) {
        (1, 1) => x.to_string(),
        (_, 1) => format!("({x}, {y})"),
        _ => format!("({x}, {y}, {z})"),
    };
    let shared = match function.shared_bytes {
        0 => String::new(),
        bytes => format!(", {bytes}"),
    };
    let buffer = |b: &BufferId| reference(program, *b);
    let argument = |a: &Argument| match a {
        Argument::Buffer(b) => buffer(b),
        Argument::Scratch(at) => format!("scratch + {at}"),
        Argument::Table(buffers) => {
            let all: Vec<String> = buffers.iter().map(buffer).collect();
            format!("{{{}}}", all.join(", "))
        }
    };
    let arguments: Vec<String> = launch.arguments.iter().map(argument).collect();
    format!(
        "{}<<<{grid}, {}{shared}>>>({})",
        function.name,
        function.threads,
        arguments.join(", ")
    )
}

/// The code of a program as JSON: functions, launches and scratch.
pub fn json(program: &KernelProgram, code: &Code) -> serde_json::Value {
    let functions = code.functions.iter().map(|f| {
        serde_json::json!({
            "name": f.name,
            "source": f.source,
            "threads": f.threads,
            "shared_bytes": f.shared_bytes,
        })
    });
    let argument = |a: &Argument| match a {
        Argument::Buffer(b) => serde_json::json!({ "buffer": b }),
        Argument::Scratch(at) => serde_json::json!({ "scratch": at }),
        Argument::Table(buffers) => serde_json::json!({ "table": buffers }),
    };
    let launches = code.launches.iter().map(|l| {
        serde_json::json!({
            "kernel": l.kernel,
            "name": program.kernels[l.kernel].name,
            "function": code.functions[l.function].name,
            "grid": l.grid,
            "arguments": l.arguments.iter().map(argument).collect::<Vec<_>>(),
        })
    });
    serde_json::json!({
        "functions": functions.collect::<Vec<_>>(),
        "launches": launches.collect::<Vec<_>>(),
        "scratch_words": code.scratch_words,
    })
}
