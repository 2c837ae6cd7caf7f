//! NVIDIA's run-time compiler, which needs no GPU.

use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;

/// What `SSLC_NVRTC` names, and how to have it.
const HOW: &str = "set SSLC_NVRTC to a folder that holds libnvrtc.so.12: `pip download --no-deps \
                   nvidia-cuda-nvrtc-cu12==12.9.86`, unpack it, nvidia/cuda_nvrtc/lib";
/// Options of every compilation.
const OPTIONS: [&str; 3] = ["--std=c++17", "--fmad=false", "-default-device"];

/// The compiler, if this machine has it; says so where it has not.
///
/// # Panics
/// Where `SSLC_REQUIRE_NVRTC` is 1 and there is none.
pub fn nvrtc() -> Option<&'static Nvrtc> {
    static FOUND: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
    match FOUND.get_or_init(Nvrtc::find) {
        Ok(found) => Some(found),
        Err(why) => {
            let required = std::env::var("SSLC_REQUIRE_NVRTC").is_ok_and(|v| v == "1");
            assert!(!required, "there is no NVRTC: {why}; {HOW}");
            eprintln!("skipped, as there is no NVRTC ({why}): {HOW}");
            None
        }
    }
}

pub struct Nvrtc(Library);

type Handle = *mut c_void;
/// `nvrtcGetPTXSize` and its like, and `nvrtcGetPTX` and its like.
type SizeOf = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type TextOf = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;

impl Nvrtc {
    fn find() -> Result<Nvrtc, String> {
        let name = "libnvrtc.so.12";
        let path = match std::env::var_os("SSLC_NVRTC") {
            Some(folder) => PathBuf::from(folder).join(name),
            None => PathBuf::from(name),
        };
        // SAFETY: NVRTC has no initialisers that ask anything of the caller.
        let library = unsafe { Library::new(&path) };
        library.map(Nvrtc).map_err(|e| e.to_string())
    }

    /// PTX for an architecture (`compute_80`), or the compiler's log. An architecture of a machine (`sm_80`) is assembled as well;
    /// then the log tells registers and spills. Returns PTX and log.
    pub fn compile(&self, source: &str, architecture: &str) -> Result<(String, String), String> {
        let source = CString::new(source).map_err(|e| e.to_string())?;
        let mut options = vec![format!("--gpu-architecture={architecture}")];
        options.extend(OPTIONS.map(str::to_string));
        if architecture.starts_with("sm_") {
            options.push("--ptxas-options=-v".to_string());
        }
        let options: Vec<CString> = options
            .into_iter()
            .map(|o| CString::new(o).map_err(|e| e.to_string()))
            .collect::<Result<_, String>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        // SAFETY: the signatures are NVRTC's, every pointer outlives its call, and the texts have the sizes that NVRTC tells.
        unsafe {
            let create = self
                .0
                .get::<unsafe extern "C" fn(
                    *mut Handle,
                    *const c_char,
                    *const c_char,
                    c_int,
                    *const *const c_char,
                    *const *const c_char,
                ) -> c_int>(b"nvrtcCreateProgram")
                .map_err(|e| e.to_string())?;
            let compile = self
                .0
                .get::<unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int>(
                    b"nvrtcCompileProgram",
                )
                .map_err(|e| e.to_string())?;
            let destroy = self
                .0
                .get::<unsafe extern "C" fn(*mut Handle) -> c_int>(b"nvrtcDestroyProgram")
                .map_err(|e| e.to_string())?;
            let mut program: Handle = std::ptr::null_mut();
            let none = std::ptr::null();
            if create(
                &mut program,
                source.as_ptr(),
                none,
                0,
                none.cast(),
                none.cast(),
            ) != 0
            {
                return Err("no program".to_string());
            }
            let status = compile(program, pointers.len() as c_int, pointers.as_ptr());
            let log = self.text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
            let result = if status == 0 {
                let ptx = self.text(program, "nvrtcGetPTXSize", "nvrtcGetPTX")?;
                Ok((ptx, log))
            } else {
                Err(log)
            };
            destroy(&mut program);
            result
        }
    }

    /// # Safety
    /// The program is one of this library's, and the names are those of a pair of its functions.
    unsafe fn text(&self, program: Handle, size: &str, text: &str) -> Result<String, String> {
        // SAFETY: as promised.
        unsafe {
            let size_of = self
                .0
                .get::<SizeOf>(size.as_bytes())
                .map_err(|e| e.to_string())?;
            let text_of = self
                .0
                .get::<TextOf>(text.as_bytes())
                .map_err(|e| e.to_string())?;
            let mut len = 0;
            size_of(program, &mut len);
            let mut bytes = vec![0u8; len + 1];
            text_of(program, bytes.as_mut_ptr().cast());
            CStr::from_bytes_until_nul(&bytes)
                .map(|t| t.to_string_lossy().into_owned())
                .map_err(|e| e.to_string())
        }
    }
}
