//! Handles of cuDNN, and what describes a convolution.
use super::{BF16, F32, LIBRARY};
use crate::driver::state::Driver;
use crate::driver::status::Status;
use crate::libraries::arrays::Type;
use crate::libraries::convolution::Problem;
use crate::libraries::handles::Checked;
use std::ffi::c_int;

/// `CUDNN_TENSOR_NHWC`, `CUDNN_CROSS_CORRELATION` and `CUDNN_FMA_MATH`.
const NHWC: c_int = 1;
const CROSS_CORRELATION: c_int = 1;
const FMA: c_int = 3;
/// Numbers that a tensor may have, and pixels of any of a convolution's sizes.
const MOST: i64 = i32::MAX as i64;
const MOST_PIXELS: i64 = 1 << 20;

pub struct DnnHandle {
    /// The stream that it gives work to.
    pub stream: u64,
}

/// Images, channels, height and width; none: nothing was set.
#[derive(Clone, Default)]
pub struct Tensor(Option<(Type, [usize; 4])>);

/// Output and input channels, height and width; none: nothing was set.
#[derive(Clone, Default)]
pub struct FilterDescriptor(Option<(Type, [usize; 4])>);

#[derive(Clone)]
struct Window {
    padding: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
}

#[derive(Clone)]
pub struct ConvolutionDescriptor {
    /// None: nothing was set.
    window: Option<Window>,
    math: c_int,
    groups: usize,
}

fn kind(of: c_int) -> Checked<Type> {
    match of {
        F32 => Ok(Type::F32),
        BF16 => Ok(Type::Bf16),
        _ => Err(LIBRARY.not_supported(format!("the type {of} is not simulated"))),
    }
}

/// Sizes, each at least so much.
fn sizes<const N: usize>(what: &str, sizes: [c_int; N], least: c_int) -> Checked<[usize; N]> {
    if sizes.iter().any(|&s| s < least || s as i64 > MOST_PIXELS) {
        return Err(LIBRARY.invalid(format!("{what} of {sizes:?}")));
    }
    Ok(sizes.map(|s| s as usize))
}

/// Type and sizes of a tensor or filter.
fn tensor(format: c_int, of: c_int, given: [c_int; 4]) -> Checked<(Type, [usize; 4])> {
    if format != NHWC {
        let message = format!("the format {format} is not simulated, only NHWC");
        return Err(LIBRARY.not_supported(message));
    }
    if given.iter().any(|&s| s < 1) {
        return Err(LIBRARY.invalid(format!("sizes of {given:?}")));
    }
    let total = given
        .iter()
        .try_fold(1i64, |t, &s| t.checked_mul(s.into()).filter(|&t| t <= MOST));
    if total.is_none() {
        let message = format!("sizes of {given:?} are more than {MOST} numbers");
        return Err(LIBRARY.not_supported(message));
    }
    Ok((kind(of)?, given.map(|s| s as usize)))
}

fn set<T: Clone>(of: &Option<T>, what: &str) -> Checked<T> {
    of.clone()
        .ok_or_else(|| LIBRARY.invalid(format!("the descriptor of {what} was not set")))
}

/// The output's images, channels, height and width.
fn output(
    convolution: &ConvolutionDescriptor,
    x: &Tensor,
    w: &FilterDescriptor,
) -> Checked<[usize; 4]> {
    let window = set(&convolution.window, "the convolution")?;
    let (_, [images, channels, height, width]) = set(&x.0, "the input")?;
    let (_, [outputs, inputs, high, wide]) = set(&w.0, "the filter")?;
    let groups = convolution.groups;
    if inputs * groups != channels || outputs % groups != 0 {
        return Err(LIBRARY.invalid(format!(
            "{channels} channels of the input, filters {outputs}×{inputs} and {groups} groups do not fit"
        )));
    }
    let along = |axis: usize, size: usize, filter: usize| {
        let reach = window.dilation[axis] * (filter - 1) + 1;
        let padded = size + 2 * window.padding[axis];
        match padded.checked_sub(reach) {
            Some(rest) => Ok(rest / window.stride[axis] + 1),
            None => Err(LIBRARY.invalid(format!(
                "a filter that reaches {reach} pixels, over {padded} of the input with its padding"
            ))),
        }
    };
    let (rows, columns) = (along(0, height, high)?, along(1, width, wide)?);
    Ok([images, outputs, rows, columns])
}

/// The convolution that descriptors describe.
pub fn problem(driver: &Driver, x: u64, w: u64, convolution: u64, y: u64) -> Checked<Problem> {
    let of: &ConvolutionDescriptor = LIBRARY.find(driver, convolution)?;
    let (x, w): (&Tensor, &FilterDescriptor) = (LIBRARY.find(driver, x)?, LIBRARY.find(driver, w)?);
    let y: &Tensor = LIBRARY.find(driver, y)?;
    let found = output(of, x, w)?;
    let window = set(&of.window, "the convolution")?;
    let (kind, [images, channels, height, width]) = set(&x.0, "the input")?;
    let (kind_w, [_, _, high, wide]) = set(&w.0, "the filter")?;
    let (kind_y, given) = set(&y.0, "the output")?;
    if kind_w != kind || kind_y != kind {
        return Err(LIBRARY.not_supported(format!(
            "there is no convolution of the types {kind:?}, {kind_w:?} and {kind_y:?} of x, w and y"
        )));
    }
    if given != found {
        return Err(LIBRARY.invalid(format!(
            "the output is {given:?} by its descriptor, and {found:?} by the others: images, channels, height and width"
        )));
    }
    if kind == Type::Bf16 && of.math == FMA {
        let message = "there is no convolution of bf16 that is restricted to FMA instructions";
        return Err(LIBRARY.not_supported(message));
    }
    let [_, outputs, rows, columns] = found;
    Ok(Problem {
        kind,
        rounded: kind == Type::F32 && of.math != FMA,
        images,
        input: [height, width, channels],
        output: [rows, columns, outputs],
        filter: [high, wide],
        padding: window.padding,
        stride: window.stride,
        dilation: window.dilation,
        groups: of.groups,
    })
}

/// The math type that a convolution has.
pub fn math(driver: &Driver, convolution: u64) -> Checked<c_int> {
    LIBRARY
        .find::<ConvolutionDescriptor>(driver, convolution)
        .map(|of| of.math)
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnCreate(handle: *mut u64) -> Status {
    LIBRARY.on_device("cudnnCreate", |driver| {
        LIBRARY.refuse_while_capturing(driver)?;
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.create(driver, handle, DnnHandle { stream: 0 }) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnDestroy(handle: u64) -> Status {
    LIBRARY.on_host("cudnnDestroy", |driver| {
        LIBRARY.destroy::<DnnHandle>(driver, handle)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnSetStream(handle: u64, stream: u64) -> Status {
    LIBRARY.on_device("cudnnSetStream", |driver| {
        if driver.stream(stream).is_err() {
            return Err(LIBRARY.invalid(format!("{stream:#x} is no stream, or was destroyed")));
        }
        LIBRARY.find_mut::<DnnHandle>(driver, handle)?.stream = stream;
        Ok(())
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnCreateTensorDescriptor(descriptor: *mut u64) -> Status {
    LIBRARY.on_host("cudnnCreateTensorDescriptor", |driver| {
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.create(driver, descriptor, Tensor::default()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnSetTensor4dDescriptor(
    descriptor: u64,
    format: c_int,
    kind: c_int,
    images: c_int,
    channels: c_int,
    height: c_int,
    width: c_int,
) -> Status {
    LIBRARY.on_host("cudnnSetTensor4dDescriptor", |driver| {
        let of = LIBRARY.find_mut::<Tensor>(driver, descriptor)?;
        of.0 = Some(tensor(format, kind, [images, channels, height, width])?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnDestroyTensorDescriptor(descriptor: u64) -> Status {
    LIBRARY.on_host("cudnnDestroyTensorDescriptor", |driver| {
        LIBRARY.destroy::<Tensor>(driver, descriptor)
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnCreateFilterDescriptor(descriptor: *mut u64) -> Status {
    LIBRARY.on_host("cudnnCreateFilterDescriptor", |driver| {
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.create(driver, descriptor, FilterDescriptor::default()) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnSetFilter4dDescriptor(
    descriptor: u64,
    kind: c_int,
    format: c_int,
    outputs: c_int,
    inputs: c_int,
    height: c_int,
    width: c_int,
) -> Status {
    LIBRARY.on_host("cudnnSetFilter4dDescriptor", |driver| {
        let of = LIBRARY.find_mut::<FilterDescriptor>(driver, descriptor)?;
        of.0 = Some(tensor(format, kind, [outputs, inputs, height, width])?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnDestroyFilterDescriptor(descriptor: u64) -> Status {
    LIBRARY.on_host("cudnnDestroyFilterDescriptor", |driver| {
        LIBRARY.destroy::<FilterDescriptor>(driver, descriptor)
    })
}

/// # Safety
/// The pointer must be good for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnCreateConvolutionDescriptor(descriptor: *mut u64) -> Status {
    LIBRARY.on_host("cudnnCreateConvolutionDescriptor", |driver| {
        let new = ConvolutionDescriptor {
            window: None,
            math: 0,
            groups: 1,
        };
        // SAFETY: as the caller promises.
        unsafe { LIBRARY.create(driver, descriptor, new) }
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnSetConvolution2dDescriptor(
    descriptor: u64,
    pad_height: c_int,
    pad_width: c_int,
    stride_height: c_int,
    stride_width: c_int,
    dilation_height: c_int,
    dilation_width: c_int,
    mode: c_int,
    compute: c_int,
) -> Status {
    LIBRARY.on_host("cudnnSetConvolution2dDescriptor", |driver| {
        let of = LIBRARY.find_mut::<ConvolutionDescriptor>(driver, descriptor)?;
        if mode != CROSS_CORRELATION || compute != F32 {
            return Err(LIBRARY.not_supported(format!(
                "mode {mode} computed as {compute} is not simulated, only cross-correlation as f32"
            )));
        }
        of.window = Some(Window {
            padding: sizes("a padding", [pad_height, pad_width], 0)?,
            stride: sizes("a stride", [stride_height, stride_width], 1)?,
            dilation: sizes("a dilation", [dilation_height, dilation_width], 1)?,
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnSetConvolutionMathType(descriptor: u64, math: c_int) -> Status {
    LIBRARY.on_host("cudnnSetConvolutionMathType", |driver| {
        let of = LIBRARY.find_mut::<ConvolutionDescriptor>(driver, descriptor)?;
        match math {
            0 | 1 | FMA => of.math = math,
            _ => {
                return Err(LIBRARY.not_supported(format!("the math {math} is not simulated")));
            }
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnSetConvolutionGroupCount(descriptor: u64, groups: c_int) -> Status {
    LIBRARY.on_host("cudnnSetConvolutionGroupCount", |driver| {
        let of = LIBRARY.find_mut::<ConvolutionDescriptor>(driver, descriptor)?;
        [of.groups] = sizes("a number of groups", [groups], 1)?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cudnnDestroyConvolutionDescriptor(descriptor: u64) -> Status {
    LIBRARY.on_host("cudnnDestroyConvolutionDescriptor", |driver| {
        LIBRARY.destroy::<ConvolutionDescriptor>(driver, descriptor)
    })
}

/// # Safety
/// The pointers must be good for numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cudnnGetConvolution2dForwardOutputDim(
    convolution: u64,
    input: u64,
    filter: u64,
    images: *mut c_int,
    channels: *mut c_int,
    height: *mut c_int,
    width: *mut c_int,
) -> Status {
    LIBRARY.on_host("cudnnGetConvolution2dForwardOutputDim", |driver| {
        let found = output(
            LIBRARY.find(driver, convolution)?,
            LIBRARY.find(driver, input)?,
            LIBRARY.find(driver, filter)?,
        )?;
        for (to, size) in [images, channels, height, width].into_iter().zip(found) {
            // SAFETY: as the caller promises.
            unsafe { LIBRARY.give(to, size as c_int) }?;
        }
        Ok(())
    })
}
