//! NVIDIA's run-time compiler: from CUDA C to PTX or to machine code. It needs no GPU.

use libloading::Library;
use std::env;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The folder that holds the library, where the loader does not find it by itself.
pub const FOLDER: &str = "SSLC_NVRTC";
/// How to have it.
pub const HOW: &str = "install CUDA 12 or 13, or set SSLC_NVRTC to a folder that holds libnvrtc.so.12: `pip download --no-deps \
                       nvidia-cuda-nvrtc-cu12==12.9.86`, unpack it, nvidia/cuda_nvrtc/lib";
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
/// Where CUDA's installer puts it.
const INSTALLED: &str = "/usr/local/cuda/lib64";
/// Options of every compilation: loops have the same bits wherever their code stands.
pub const OPTIONS: [&str; 3] = ["--std=c++17", "--fmad=false", "-default-device"];

type Handle = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Handle,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Handle) -> c_int;
type Size = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type Bytes = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;
type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
type Count = unsafe extern "C" fn(*mut c_int) -> c_int;

/// The compiler, loaded.
pub struct Nvrtc {
    create: Create,
    compile: Compile,
    destroy: Destroy,
    log: (Size, Bytes),
    ptx: (Size, Bytes),
    cubin: (Size, Bytes),
    version: (c_int, c_int),
    /// Architectures that it knows, as `80` for 8.0, ascending.
    architectures: Vec<c_int>,
    /// What the functions belong to.
    _library: Library,
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nvrtc")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What a compilation gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text that the driver assembles for its device.
    Ptx,
    /// Machine code of one architecture, for drivers older than the compiler.
    Cubin,
}

/// What was compiled.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// PTX with a closing zero, or machine code.
    pub image: Vec<u8>,
    pub log: String,
}

/// The compiler of this machine.
///
/// # Errors
/// Why there is none, in a few words.
pub fn nvrtc() -> Result<&'static Nvrtc, &'static str> {
    static FOUND: OnceLock<Result<Nvrtc, String>> = OnceLock::new();
    FOUND
        .get_or_init(Nvrtc::find)
        .as_ref()
        .map_err(String::as_str)
}

impl Nvrtc {
    fn find() -> Result<Nvrtc, String> {
        let given = env::var_os(FOLDER).map(PathBuf::from);
        let folders = match &given {
            Some(folder) => vec![folder.as_path()],
            None => vec![Path::new(""), Path::new(INSTALLED)],
        };
        for folder in folders {
            for name in NAMES {
                // SAFETY: NVRTC has no initialisers that ask anything of the caller.
                if let Ok(library) = unsafe { Library::new(folder.join(name)) } {
                    return Nvrtc::of(library).map_err(|e| e.to_string());
                }
            }
        }
        Err(match given {
            Some(folder) => format!("there is no libnvrtc.so in '{}'", folder.display()),
            None => "libnvrtc.so is not on the library path".to_owned(),
        })
    }

    fn of(library: Library) -> Result<Nvrtc, libloading::Error> {
        // SAFETY: the signatures are those of nvrtc.h.
        unsafe {
            let version = library.get::<Version>(b"nvrtcVersion\0")?;
            let (mut major, mut minor) = (0, 0);
            version(&mut major, &mut minor);
            let mut count = 0;
            library.get::<Count>(b"nvrtcGetNumSupportedArchs\0")?(&mut count);
            let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
            library.get::<Count>(b"nvrtcGetSupportedArchs\0")?(architectures.as_mut_ptr());
            let pair = |size: &[u8], bytes: &[u8]| {
                Ok::<_, libloading::Error>((
                    *library.get::<Size>(size)?,
                    *library.get::<Bytes>(bytes)?,
                ))
            };
            Ok(Nvrtc {
                create: *library.get::<Create>(b"nvrtcCreateProgram\0")?,
                compile: *library.get::<Compile>(b"nvrtcCompileProgram\0")?,
                destroy: *library.get::<Destroy>(b"nvrtcDestroyProgram\0")?,
                log: pair(b"nvrtcGetProgramLogSize\0", b"nvrtcGetProgramLog\0")?,
                ptx: pair(b"nvrtcGetPTXSize\0", b"nvrtcGetPTX\0")?,
                cubin: pair(b"nvrtcGetCUBINSize\0", b"nvrtcGetCUBIN\0")?,
                version: (major, minor),
                architectures,
                _library: library,
            })
        }
    }

    /// Its version, major and minor.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// The newest architecture that it knows and a device of this one runs: `80` for 8.0.
    pub fn architecture(&self, device: i32) -> Option<i32> {
        let known = self.architectures.iter().rev();
        known.copied().find(|a| *a <= device)
    }

    /// Compiles a text for an architecture, `80` for 8.0. The log of machine code tells registers and spills.
    ///
    /// # Errors
    /// The compiler's log.
    pub fn compile(&self, source: &str, architecture: i32, form: Form) -> Result<Compiled, String> {
        let (kind, get) = match form {
            Form::Ptx => ("compute", self.ptx),
            Form::Cubin => ("sm", self.cubin),
        };
        let mut options = vec![format!("--gpu-architecture={kind}_{architecture}")];
        options.extend(OPTIONS.map(str::to_owned));
        if form == Form::Cubin {
            options.push("--ptxas-options=-v".to_owned());
        }
        let c_text = |text: &str| CString::new(text).map_err(|e| e.to_string());
        let source = c_text(source)?;
        let options = options
            .iter()
            .map(|o| c_text(o))
            .collect::<Result<Vec<_>, String>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let none = std::ptr::null();
        let mut program: Handle = std::ptr::null_mut();
        // SAFETY: every pointer outlives its call, and the program is destroyed once.
        unsafe {
            let (count, first) = (pointers.len() as c_int, pointers.as_ptr());
            let status = (self.create)(
                &mut program,
                source.as_ptr(),
                none,
                0,
                none.cast(),
                none.cast(),
            );
            if status != 0 {
                return Err(format!("the compiler takes no program: its error {status}"));
            }
            let status = (self.compile)(program, count, first);
            let log = self.bytes(program, self.log);
            let image = if status == 0 {
                self.bytes(program, get)
            } else {
                Vec::new()
            };
            (self.destroy)(&mut program);
            let log = String::from_utf8_lossy(&log);
            let log = log.trim_end_matches(['\0', '\n']).to_owned();
            if status == 0 {
                Ok(Compiled { image, log })
            } else {
                Err(log)
            }
        }
    }

    /// # Safety
    /// The program is one of this library's.
    unsafe fn bytes(&self, program: Handle, (size, bytes): (Size, Bytes)) -> Vec<u8> {
        let mut len = 0;
        // SAFETY: as promised; the buffer has the size that the library tells.
        unsafe {
            size(program, &mut len);
            let mut out = vec![0u8; len];
            bytes(program, out.as_mut_ptr().cast());
            out
        }
    }
}
