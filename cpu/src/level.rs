//! The instruction sets a kernel is compiled for, and the choice among them at run time.

/// An instruction-set level. Each level is compiled into the binary; which one runs is decided when the device is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the target has (SSE2 on x86-64).
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, DQ, BW and VL.
    Avx512,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Level; 3] = [Level::Portable, Level::Avx2, Level::Avx512];

    /// The highest level this machine has.
    pub fn detect() -> Level {
        *Level::ALL
            .iter()
            .rev()
            .find(|l| l.available())
            .unwrap_or(&Level::Portable)
    }

    /// Whether this machine can run code of this level.
    pub fn available(self) -> bool {
        match self {
            Level::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                Level::Avx2.available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }
}

/// What kernels may use of the machine: a level, and instructions that not every machine of the level has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    pub level: Level,
    /// Dot products of bf16 (AVX512-BF16), at the level AVX-512. Where they are missing, bf16 is widened and multiplied as
    /// f32, which rounds in another order.
    pub bf16_products: bool,
}

impl Features {
    /// All that the machine has at a level.
    pub fn of(level: Level) -> Features {
        #[cfg(target_arch = "x86_64")]
        let bf16_products = level == Level::Avx512 && is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        let bf16_products = false;
        Features {
            level,
            bf16_products,
        }
    }
}

/// Compiles a function once per level and defines, under its name, a function that takes a [`Level`] and returns the
/// copy for it. The body is the same source at every level and uses no fused multiply-add, so the bits are the same.
///
/// The functions are `unsafe`: the caller promises that the machine has the level, besides what the body needs.
#[macro_export]
macro_rules! leveled {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(level: $crate::level::Level) -> unsafe fn($($ty),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            unsafe fn portable($($arg: $ty),*) {
                // SAFETY: what the body needs is the caller's promise.
                #[allow(unused_unsafe, clippy::macro_metavars_in_unsafe)]
                unsafe {
                    $body
                }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: as above.
                unsafe { portable($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512dq,avx512bw,avx512vl")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: as above.
                unsafe { portable($($arg),*) }
            }
            match level {
                #[cfg(target_arch = "x86_64")]
                $crate::level::Level::Avx2 => avx2,
                #[cfg(target_arch = "x86_64")]
                $crate::level::Level::Avx512 => avx512,
                _ => portable,
            }
        }
    };
}
pub use leveled;
