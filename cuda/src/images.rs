//! Functions compiled for a GPU: in parallel, and each but once on a machine.

use crate::cache::Cache;
use crate::code::{Function, PRELUDE};
use crate::nvrtc::{Form, Nvrtc, OPTIONS};
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Images of functions, in their order, compiled on `threads` threads.
///
/// # Errors
/// E0754 where the compiler refuses one.
pub fn images(
    functions: &[Function],
    compiler: &Nvrtc,
    architecture: i32,
    form: Form,
    cache: &Cache,
    threads: usize,
) -> Result<Vec<Vec<u8>>, Diagnostic> {
    let next = AtomicUsize::new(0);
    let made = Mutex::new(vec![None; functions.len()]);
    let work = || {
        while let Some((i, function)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            functions.get(i).map(|f| (i, f))
        } {
            let image = image(function, compiler, architecture, form, cache);
            if let Ok(mut made) = made.lock() {
                made[i] = Some(image);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.clamp(1, functions.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
    let made = made.into_inner().unwrap_or_default();
    made.into_iter().flatten().collect()
}

fn image(
    function: &Function,
    compiler: &Nvrtc,
    architecture: i32,
    form: Form,
    cache: &Cache,
) -> Result<Vec<u8>, Diagnostic> {
    let source = format!("{PRELUDE}\n{}", function.source);
    let (major, minor) = compiler.version();
    let key = format!("nvrtc {major}.{minor} {form:?} {architecture} {OPTIONS:?}\n{source}");
    if let Some(image) = cache.get(key.as_bytes()) {
        return Ok(image);
    }
    let compiled = compiler
        .compile(&source, architecture, form)
        .map_err(|log| {
            Diagnostic::new(
                codes::E0754,
                format!(
                    "NVRTC {major}.{minor} does not compile `{}`:\n{log}",
                    function.name
                ),
            )
            .help("this is a fault of sslc or of the compiler: try another CUDA version, or use `--device cpu`")
        })?;
    cache.put(key.as_bytes(), &compiled.image);
    Ok(compiled.image)
}
