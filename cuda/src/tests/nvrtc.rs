//! The compiler, where this machine has it.

use crate::nvrtc::{self, Form, Nvrtc};

/// The compiler, if this machine has it; says so where it has not.
///
/// # Panics
/// Where `SSLC_REQUIRE_NVRTC` is 1 and there is none.
pub fn nvrtc() -> Option<&'static Nvrtc> {
    match nvrtc::nvrtc() {
        Ok(found) => Some(found),
        Err(why) => {
            let how = nvrtc::HOW;
            let required = std::env::var("SSLC_REQUIRE_NVRTC").is_ok_and(|v| v == "1");
            assert!(!required, "there is no NVRTC: {why}; {how}");
            eprintln!("skipped, as there is no NVRTC ({why}): {how}");
            None
        }
    }
}

/// The text that the simulator runs, or the compiler's log.
pub fn ptx(compiler: &Nvrtc, source: &str) -> Result<String, String> {
    let image = compiler.compile(source, 80, Form::Ptx)?.image;
    let text = String::from_utf8(image).map_err(|e| e.to_string())?;
    Ok(text.trim_end_matches('\0').to_owned())
}

/// What the assembler tells of a text's functions: registers, spills, shared memory.
///
/// # Panics
/// Where it refuses the text.
pub fn assembled(compiler: &Nvrtc, source: &str, architecture: i32) -> String {
    let compiled = compiler.compile(source, architecture, Form::Cubin);
    compiled.unwrap_or_else(|log| panic!("{log}\n{source}")).log
}
