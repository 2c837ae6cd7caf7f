//! What is behind the libraries' handles, and how calls begin and are refused.
use super::Product;
use super::cublaslt::{Layout, LtHandle, MatmulDescriptor, Preference};
use super::cudnn::descriptors::{ConvolutionDescriptor, DnnHandle, FilterDescriptor, Tensor};
use crate::driver::queue::Work;
use crate::driver::state::{CONTEXT, CONTEXT_HANDLE, Driver, with_driver};
use crate::driver::status::Status;
use std::collections::BTreeMap;

/// Why a call is refused: the library's status, and what is wrong.
#[derive(Debug)]
pub struct Refusal {
    pub code: Status,
    pub message: String,
}

pub type Checked<T = ()> = Result<T, Refusal>;

/// No device has memory beyond it.
const MOST_ADDRESS: u64 = 1 << 56;

/// The statuses that a library has for the same things.
pub struct Library {
    pub not_initialized: Status,
    pub invalid: Status,
    pub not_supported: Status,
    pub failed: Status,
}

/// A kind of thing behind handles.
pub trait Object: Sized {
    /// How messages call it.
    const WHAT: &str;
    fn all(objects: &Objects) -> &BTreeMap<u64, Self>;
    fn all_mut(objects: &mut Objects) -> &mut BTreeMap<u64, Self>;
}

macro_rules! objects {
    ($($field:ident: $type:ty, $what:literal;)*) => {
        /// Everything behind the libraries' handles.
        #[derive(Default)]
        pub struct Objects {
            $($field: BTreeMap<u64, $type>,)*
            /// Products so far.
            pub turn: u64,
        }

        $(impl Object for $type {
            const WHAT: &str = $what;

            fn all(objects: &Objects) -> &BTreeMap<u64, Self> {
                &objects.$field
            }

            fn all_mut(objects: &mut Objects) -> &mut BTreeMap<u64, Self> {
                &mut objects.$field
            }
        })*
    };
}

objects! {
    lt_handles: LtHandle, "handle of cuBLASLt";
    matmul_descriptors: MatmulDescriptor, "descriptor of a product";
    layouts: Layout, "layout of a matrix";
    preferences: Preference, "preference";
    dnn_handles: DnnHandle, "handle of cuDNN";
    tensors: Tensor, "descriptor of a tensor";
    filters: FilterDescriptor, "descriptor of a filter";
    convolutions: ConvolutionDescriptor, "descriptor of a convolution";
}

impl Library {
    pub fn invalid(&self, message: impl Into<String>) -> Refusal {
        self.refuse(self.invalid, message)
    }

    pub fn not_supported(&self, message: impl Into<String>) -> Refusal {
        self.refuse(self.not_supported, message)
    }

    pub fn refuse(&self, code: Status, message: impl Into<String>) -> Refusal {
        let message = message.into();
        Refusal { code, message }
    }

    /// A call that needs the driver to be initialised, and nothing of the device.
    pub fn on_host(&self, call: &str, f: impl FnOnce(&mut Driver) -> Checked) -> Status {
        let mut status = self.not_initialized;
        with_driver(|driver| {
            status = match f(driver) {
                Ok(()) => 0,
                Err(Refusal { code, message }) => driver.say(code, format!("{call}: {message}")),
            };
            Ok(())
        });
        status
    }

    /// A call that needs a current context, and fails after an error of the device.
    pub fn on_device(&self, call: &str, f: impl FnOnce(&mut Driver) -> Checked) -> Status {
        self.on_host(call, |driver| {
            if CONTEXT.get() != CONTEXT_HANDLE {
                return Err(self.refuse(self.not_initialized, "no context is current"));
            }
            if let Some(error) = driver.error {
                let message = format!("the device failed before, with error {error}");
                return Err(self.refuse(self.failed, message));
            }
            f(driver)
        })
    }

    /// # Safety
    /// `to` must be null or good for a handle.
    pub unsafe fn create<T: Object>(
        &self,
        driver: &mut Driver,
        to: *mut u64,
        object: T,
    ) -> Checked {
        let handle = driver.handle();
        // SAFETY: as the caller promises.
        unsafe { self.give(to, handle) }?;
        T::all_mut(&mut driver.objects).insert(handle, object);
        Ok(())
    }

    pub fn destroy<T: Object>(&self, driver: &mut Driver, handle: u64) -> Checked {
        match T::all_mut(&mut driver.objects).remove(&handle) {
            Some(_) => Ok(()),
            None => Err(self.unknown::<T>(handle)),
        }
    }

    pub fn find<'a, T: Object>(&self, driver: &'a Driver, handle: u64) -> Checked<&'a T> {
        T::all(&driver.objects)
            .get(&handle)
            .ok_or_else(|| self.unknown::<T>(handle))
    }

    pub fn find_mut<'a, T: Object>(
        &self,
        driver: &'a mut Driver,
        handle: u64,
    ) -> Checked<&'a mut T> {
        T::all_mut(&mut driver.objects)
            .get_mut(&handle)
            .ok_or_else(|| self.unknown::<T>(handle))
    }

    fn unknown<T: Object>(&self, handle: u64) -> Refusal {
        let what = T::WHAT;
        self.invalid(format!("{handle:#x} is no {what}, or was destroyed"))
    }

    /// Writes a result to where the caller wants it.
    ///
    /// # Safety
    /// `to` must be null or good for a value.
    pub unsafe fn give<T>(&self, to: *mut T, value: T) -> Checked {
        if to.is_null() {
            return Err(self.invalid("a null pointer to a result"));
        }
        // SAFETY: as the caller promises.
        unsafe { to.write(value) };
        Ok(())
    }

    /// Reads a value of the host.
    ///
    /// # Safety
    /// `from` must be null or good for a value.
    pub unsafe fn take<T: Copy>(&self, from: *const T, what: &str) -> Checked<T> {
        if from.is_null() {
            return Err(self.invalid(format!("{what} is null")));
        }
        // SAFETY: as the caller promises.
        Ok(unsafe { from.read_unaligned() })
    }

    /// The factors of a product: `beta` must be 0.
    ///
    /// # Safety
    /// Both must be null or good for a number.
    pub unsafe fn factors(&self, alpha: *const f32, beta: *const f32) -> Checked<f32> {
        // SAFETY: as the caller promises.
        let (alpha, beta) = unsafe { (self.take(alpha, "alpha")?, self.take(beta, "beta")?) };
        if beta != 0.0 {
            return Err(self.not_supported(format!("a beta of {beta} is not simulated, only 0")));
        }
        Ok(alpha)
    }

    /// A pointer to the device's memory must have this alignment.
    pub fn aligned(&self, what: &str, address: u64, to: u64) -> Checked {
        if address == 0 {
            return Err(self.invalid(format!("the pointer to {what} is null")));
        }
        if address > MOST_ADDRESS {
            return Err(self.invalid(format!("the pointer to {what}, {address:#x}, is none")));
        }
        if !address.is_multiple_of(to) {
            return Err(self.invalid(format!(
                "the pointer to {what}, {address:#x}, is not aligned to {to} bytes"
            )));
        }
        Ok(())
    }

    /// A workspace must be what an algorithm asks for, in one buffer. Gives the part that the algorithm uses.
    pub fn workspace(
        &self,
        driver: &Driver,
        address: u64,
        bytes: usize,
        needed: u64,
        alignment: u64,
    ) -> Checked<(u64, u64)> {
        if (bytes as u64) < needed {
            return Err(self.invalid(format!(
                "the algorithm needs a workspace of {needed} bytes, and has {bytes}"
            )));
        }
        if bytes == 0 || address == 0 && needed == 0 {
            return Ok((0, 0));
        }
        self.aligned("the workspace", address, alignment)?;
        let reach = driver.memory.reach(address);
        if reach.is_none_or(|(_, end)| bytes as u64 > end - address) {
            return Err(self.invalid(format!(
                "the workspace, {bytes} bytes at {address:#x}, is not in one buffer"
            )));
        }
        Ok((address, needed))
    }

    /// Makes a product work of a stream.
    pub fn submit(&self, driver: &mut Driver, stream: u64, product: Product) -> Checked {
        let stream = driver
            .stream(stream)
            .map_err(|_| self.invalid(format!("{stream:#x} is no stream, or was destroyed")))?;
        driver
            .submit(stream, Work::Library(Box::new(product)))
            .map_err(|error| {
                self.refuse(
                    self.failed,
                    format!("the stream refuses work, with error {error}"),
                )
            })
    }

    /// Handles are made while nothing is captured, as making them allocates.
    pub fn refuse_while_capturing(&self, driver: &mut Driver) -> Checked {
        driver
            .refuse_while_capturing()
            .map_err(|_| self.refuse(self.failed, "a handle is made while a stream captures"))
    }
}
