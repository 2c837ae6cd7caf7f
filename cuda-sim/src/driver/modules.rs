//! Modules, functions and launches.
use super::info::MULTIPROCESSORS;
use super::queue::Work;
use super::state::{Driver, Function, give, with_context};
use super::status::{self, Outcome, Status};
use crate::code::Kernel;
use crate::device::{Module, SHARED_BYTES, SHARED_BYTES_MOST, check_sizes};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

/// Options of `cuModuleLoadDataEx` that say where messages go: the text, and how long it may be.
const ERROR_LOG: c_uint = 5;
const ERROR_LOG_BYTES: c_uint = 6;

impl Driver {
    fn load(&mut self, image: *const c_void) -> Result<u64, Status> {
        if image.is_null() {
            return Err(status::INVALID_VALUE);
        }
        // SAFETY: an image is a text that ends in a zero byte, or begins with the magic number of a binary.
        let bytes = unsafe { CStr::from_ptr(image.cast()) }.to_bytes();
        if bytes.starts_with(b"\x7fELF") || !bytes.is_ascii() {
            return Err(self.say(
                status::NO_BINARY_FOR_GPU,
                "a module is a binary: the simulated device takes only PTX",
            ));
        }
        let text = String::from_utf8_lossy(bytes);
        self.refuse_architecture(&text)?;
        match Module::load(&mut self.memory, &text) {
            Ok(module) => {
                let handle = self.handle();
                self.modules.insert(handle, Arc::new(module));
                Ok(handle)
            }
            Err(refusal) => {
                let line = text
                    .lines()
                    .nth((refusal.line as usize).saturating_sub(1))
                    .unwrap_or_default()
                    .trim();
                let message = format!("PTX line {} `{line}`: {}", refusal.line, refusal.message);
                Err(self.say(status::INVALID_PTX, message))
            }
        }
    }

    /// PTX for a later architecture does not load.
    fn refuse_architecture(&mut self, text: &str) -> Outcome {
        let target = text
            .lines()
            .find_map(|l| l.trim().strip_prefix(".target sm_"))
            .unwrap_or_default();
        let digits: String = target.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse::<u32>() {
            Ok(needed) if needed > self.architecture => {
                let message = format!(
                    "PTX for sm_{needed} does not run on sm_{}",
                    self.architecture
                );
                Err(self.say(status::INVALID_PTX, message))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(self.say(status::INVALID_PTX, "PTX says no `.target`")),
        }
    }

    /// A function's module and kernel.
    fn function(&self, handle: u64) -> Result<(Arc<Module>, &Function), Status> {
        let function = self.functions.get(&handle).ok_or(status::INVALID_HANDLE)?;
        let module = self
            .modules
            .get(&function.module)
            .ok_or(status::INVALID_HANDLE)?;
        Ok((module.clone(), function))
    }

    /// Blocks that a multiprocessor holds at once.
    fn occupancy(&self, function: u64, threads: c_int, shared: usize) -> Result<c_int, Status> {
        let (module, function) = self.function(function)?;
        let kernel = &module.kernels[function.kernel];
        let threads = u32::try_from(threads)
            .ok()
            .filter(|&t| t > 0)
            .ok_or(status::INVALID_VALUE)?;
        let bytes = shared.saturating_add(kernel.shared_declared as usize + 1024);
        if threads > 1024 || bytes > SHARED_BYTES_MOST as usize + 1024 {
            return Ok(0);
        }
        let by_threads = 2048 / threads.next_multiple_of(32);
        let by_registers = 65536 / (registers(kernel) as u32 * threads.next_multiple_of(32));
        let by_shared = (SHARED_BYTES_MOST + 1024) / bytes as u32;
        Ok(by_threads.min(by_registers).min(by_shared).min(32) as c_int)
    }
}

/// Registers of a thread: a guess, as no assembler counted them.
fn registers(kernel: &Kernel) -> c_int {
    (kernel.rows as c_int / 4).clamp(16, 128)
}

/// # Safety
/// `image` must be PTX that ends in a zero byte, or a binary.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut u64, image: *const c_void) -> Status {
    with_context(|driver| {
        driver.refuse_while_capturing()?;
        let handle = driver.load(image)?;
        // SAFETY: as the caller promises.
        unsafe { give(module, handle) }
    })
}

/// # Safety
/// As for [`cuModuleLoadData`]; the options must be as many as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut u64,
    image: *const c_void,
    count: c_uint,
    options: *mut c_uint,
    values: *mut *mut c_void,
) -> Status {
    // SAFETY: as the caller promises.
    let result = unsafe { cuModuleLoadData(module, image) };
    let (mut log, mut room) = (std::ptr::null_mut::<u8>(), 0);
    for at in 0..count as usize {
        // SAFETY: there are `count` options and values.
        let (option, value) = unsafe { (*options.add(at), *values.add(at)) };
        match option {
            ERROR_LOG => log = value.cast(),
            ERROR_LOG_BYTES => room = value as usize,
            _ => {}
        }
    }
    if result != 0 && !log.is_null() && room > 0 {
        let message = super::last_message();
        let length = message.len().min(room - 1);
        // SAFETY: the log has `room` bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(message.as_ptr(), log, length);
            log.add(length).write(0);
        }
    }
    result
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(module: u64) -> Status {
    with_context(|driver| {
        driver.wait_for_all()?;
        let unloaded = driver
            .modules
            .remove(&module)
            .ok_or(status::INVALID_HANDLE)?;
        driver.functions.retain(|_, f| f.module != module);
        for (address, _) in unloaded.variables.values() {
            driver.memory.free(*address);
        }
        Ok(())
    })
}

/// # Safety
/// `name` must end in a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(
    function: *mut u64,
    module: u64,
    name: *const c_char,
) -> Status {
    with_context(|driver| {
        if name.is_null() {
            return Err(status::INVALID_VALUE);
        }
        // SAFETY: as the caller promises.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let of = driver.modules.get(&module).ok_or(status::INVALID_HANDLE)?;
        let kernel = of
            .kernels
            .iter()
            .position(|k| k.name == name)
            .ok_or(status::NOT_FOUND)?;
        let known = driver
            .functions
            .iter()
            .find(|(_, f)| f.module == module && f.kernel == kernel)
            .map(|(&h, _)| h);
        let handle = match known {
            Some(handle) => handle,
            None => {
                let dynamic_shared =
                    SHARED_BYTES.saturating_sub(of.kernels[kernel].shared_declared);
                let handle = driver.handle();
                driver.functions.insert(
                    handle,
                    Function {
                        module,
                        kernel,
                        dynamic_shared,
                    },
                );
                handle
            }
        };
        // SAFETY: as the caller promises.
        unsafe { give(function, handle) }
    })
}

/// # Safety
/// `name` must end in a zero byte; the other pointers must be null or good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetGlobal_v2(
    address: *mut u64,
    bytes: *mut usize,
    module: u64,
    name: *const c_char,
) -> Status {
    with_context(|driver| {
        if name.is_null() {
            return Err(status::INVALID_VALUE);
        }
        // SAFETY: as the caller promises.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let of = driver.modules.get(&module).ok_or(status::INVALID_HANDLE)?;
        let &(found, size) = of.variables.get(name.as_ref()).ok_or(status::NOT_FOUND)?;
        // SAFETY: as the caller promises.
        unsafe {
            if !address.is_null() {
                give(address, found)?;
            }
            if bytes.is_null() {
                Ok(())
            } else {
                give(bytes, size as usize)
            }
        }
    })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    function: u64,
) -> Status {
    with_context(|driver| {
        let (module, of) = driver.function(function)?;
        let kernel = &module.kernels[of.kernel];
        let found = match attribute {
            0 => kernel.max_threads.min(1024) as c_int,
            1 => kernel.shared_declared as c_int,
            3 => kernel.local_bytes as c_int,
            4 => registers(kernel),
            5 | 6 => driver.architecture as c_int,
            8 => of.dynamic_shared as c_int,
            9 => -1,
            _ => 0,
        };
        // SAFETY: as the caller promises.
        unsafe { give(value, found) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(function: u64, attribute: c_int, value: c_int) -> Status {
    with_context(|driver| {
        let (module, of) = driver.function(function)?;
        let fixed = module.kernels[of.kernel].shared_declared;
        if attribute != 8 {
            return if attribute == 9 {
                Ok(())
            } else {
                Err(status::INVALID_VALUE)
            };
        }
        let bytes = u32::try_from(value).map_err(|_| status::INVALID_VALUE)?;
        if bytes.saturating_add(fixed) > SHARED_BYTES_MOST {
            let message = format!(
                "{bytes} bytes of dynamic shared memory and {fixed} of static, of {SHARED_BYTES_MOST}"
            );
            return Err(driver.say(status::INVALID_VALUE, message));
        }
        if let Some(function) = driver.functions.get_mut(&function) {
            function.dynamic_shared = bytes;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetCacheConfig(function: u64, _config: c_int) -> Status {
    with_context(|driver| driver.function(function).map(|_| ()))
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut c_int,
    function: u64,
    threads: c_int,
    shared: usize,
) -> Status {
    with_context(|driver| {
        let found = driver.occupancy(function, threads, shared)?;
        // SAFETY: as the caller promises.
        unsafe { give(blocks, found) }
    })
}

/// # Safety
/// The pointer must be good for a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut c_int,
    function: u64,
    threads: c_int,
    shared: usize,
    _flags: c_uint,
) -> Status {
    // SAFETY: as the caller promises.
    unsafe { cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared) }
}

/// # Safety
/// `parameters` must point to as many arguments as the function has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: u64,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    threads_x: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared: c_uint,
    stream: u64,
    parameters: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Status {
    with_context(|driver| {
        let stream = driver.stream(stream)?;
        let (module, of) = driver.function(function)?;
        let (kernel, most) = (of.kernel, of.dynamic_shared);
        let decoded = &module.kernels[kernel];
        let (grid, threads) = ([grid_x, grid_y, grid_z], [threads_x, threads_y, threads_z]);
        if let Err(message) = check_sizes(
            decoded,
            grid,
            threads,
            shared,
            most + decoded.shared_declared,
        ) {
            let message = format!("the launch of `{}` is refused: {message}", decoded.name);
            return Err(driver.say(status::INVALID_VALUE, message));
        }
        if !extra.is_null() || parameters.is_null() && !decoded.parameters.is_empty() {
            return Err(status::INVALID_VALUE);
        }
        let mut bytes = vec![0; decoded.parameter_bytes as usize];
        for (at, parameter) in decoded.parameters.iter().enumerate() {
            // SAFETY: the caller gives a pointer to each argument.
            unsafe {
                let from = *parameters.add(at);
                if from.is_null() {
                    return Err(status::INVALID_VALUE);
                }
                let to = bytes[parameter.offset as usize..].as_mut_ptr();
                std::ptr::copy_nonoverlapping(from.cast::<u8>(), to, parameter.size as usize);
            }
        }
        driver.submit(
            stream,
            Work::Launch {
                module: module.clone(),
                kernel,
                grid,
                threads,
                shared,
                parameters: bytes,
            },
        )
    })
}

/// The number of multiprocessors times what one holds must suffice for all blocks of a cooperative launch.
///
/// # Safety
/// As for [`cuLaunchKernel`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchCooperativeKernel(
    function: u64,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    threads_x: c_uint,
    threads_y: c_uint,
    threads_z: c_uint,
    shared: c_uint,
    _stream: u64,
    _parameters: *mut *mut c_void,
) -> Status {
    with_context(|driver| {
        let threads = threads_x
            .saturating_mul(threads_y)
            .saturating_mul(threads_z);
        let held = driver.occupancy(function, threads.min(1 << 20) as c_int, shared as usize)?;
        let blocks = grid_x as u64 * grid_y as u64 * grid_z as u64;
        if blocks > held as u64 * MULTIPROCESSORS as u64 {
            return Err(status::INVALID_VALUE);
        }
        Err(driver.say(
            status::NOT_SUPPORTED,
            "cooperative launches are not simulated",
        ))
    })
}
