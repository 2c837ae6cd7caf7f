//! Memory of a loaded program, and the check that the machine has it before it is taken.

use memmap2::MmapMut;
use sslc_grammar::codes;
use sslc_grammar::diag::Diagnostic;

/// Bytes of a huge page of x86-64, and of most others.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes from which memory begins with a huge page and ends with one. Pages of 4 KiB lie anywhere: what is worked on by turns may
/// then share places of the second-level cache in one process and have places of its own in the next.
const ON_HUGE_PAGES: usize = 256 << 10;

/// Zeroed memory for f32, aligned to a page, in huge pages where the system has them.
#[derive(Debug)]
pub struct Memory {
    map: MmapMut,
    /// Bytes before the first element.
    before: usize,
}

impl Memory {
    /// `len` elements of value 0.
    ///
    /// # Errors
    /// When the system does not give the memory.
    pub fn zeroed(len: usize) -> Result<Memory, Diagnostic> {
        let bytes = len
            .checked_mul(4)
            .filter(|b| isize::try_from(*b).is_ok())
            .ok_or_else(|| not_enough(u64::MAX, None))?;
        let given = |bytes| MmapMut::map_anon(bytes).map_err(|_| not_enough(bytes as u64, None));
        if bytes < ON_HUGE_PAGES {
            let map = given(bytes.max(4))?;
            return Ok(Memory { map, before: 0 });
        }
        let whole = bytes.next_multiple_of(HUGE_PAGE);
        let map = given(whole + HUGE_PAGE)?;
        let before = map.as_ptr().align_offset(HUGE_PAGE);
        #[cfg(target_os = "linux")]
        {
            // A hint only: without huge pages the program is somewhat slower.
            let _ = map.advise_range(memmap2::Advice::HugePage, before, whole);
        }
        Ok(Memory { map, before })
    }

    /// The first element. Valid for the elements asked for as long as `self` lives.
    pub fn pointer(&mut self) -> *mut f32 {
        self.map.as_mut_ptr().wrapping_add(self.before).cast()
    }
}

/// Says that `needed` bytes are more than the machine has free.
pub fn not_enough(needed: u64, available: Option<u64>) -> Diagnostic {
    let needed = if needed == u64::MAX {
        "more memory than any machine has".to_string()
    } else {
        format!("{} of memory", size(needed))
    };
    let available = match available {
        Some(a) => format!("this machine has {} free", size(a)),
        None => "the system does not give it".to_string(),
    };
    Diagnostic::new(
        codes::E0701,
        format!("a training step needs {needed}, and {available}"),
    )
    .help("make `batch` smaller, or the views or the network; memory grows in proportion to the batch")
}

/// Refuses what the machine cannot hold.
///
/// # Errors
/// E0701 when `needed` bytes are more than is available.
pub fn check_memory(needed: u64) -> Result<(), Diagnostic> {
    match available() {
        Some(available) if needed > available => Err(not_enough(needed, Some(available))),
        _ if isize::try_from(needed).is_err() => Err(not_enough(needed, None)),
        _ => Ok(()),
    }
}

/// Bytes that can be taken without pushing anything out: the smaller of the machine's and the control group's, where
/// the system tells them.
pub fn available() -> Option<u64> {
    [machine_available(), group_available()]
        .into_iter()
        .flatten()
        .min()
}

#[cfg(target_os = "linux")]
fn machine_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(not(target_os = "linux"))]
fn machine_available() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn group_available() -> Option<u64> {
    let number =
        |file: &str| -> Option<u64> { std::fs::read_to_string(file).ok()?.trim().parse().ok() };
    let max = number("/sys/fs/cgroup/memory.max")?;
    let used = number("/sys/fs/cgroup/memory.current")?;
    // Page cache counts as used but gives way.
    let cache = std::fs::read_to_string("/sys/fs/cgroup/memory.stat")
        .ok()
        .and_then(|text| {
            text.lines()
                .find_map(|l| l.strip_prefix("inactive_file ")?.parse::<u64>().ok())
        })
        .unwrap_or(0);
    Some(max.saturating_sub(used.saturating_sub(cache)))
}

#[cfg(not(target_os = "linux"))]
fn group_available() -> Option<u64> {
    None
}

/// A size for people, in binary units: `1.5 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_and_aligned() {
        let mut memory = Memory::zeroed(1000).expect("4 kB");
        let p = memory.pointer();
        assert_eq!(p.align_offset(64), 0);
        // SAFETY: the memory has 1000 elements.
        let all = unsafe { std::slice::from_raw_parts(p, 1000) };
        assert!(all.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn large_memory_begins_with_a_huge_page() {
        let len = ON_HUGE_PAGES / 4 + 1;
        let mut memory = Memory::zeroed(len).expect("256 kB");
        let p = memory.pointer();
        assert_eq!(p.align_offset(HUGE_PAGE), 0);
        // SAFETY: the memory has as many elements.
        let all = unsafe { std::slice::from_raw_parts_mut(p, len) };
        assert!(all.iter().all(|v| *v == 0.0));
        all[len - 1] = 1.0;
    }

    #[test]
    fn too_much_is_refused_with_sizes() {
        let error = check_memory(500 << 40).expect_err("500 TiB");
        assert_eq!(error.code.name(), "E0701");
        if available().is_some() {
            assert!(
                error
                    .message
                    .contains("needs 500.0 TiB of memory, and this machine has")
            );
        }
        assert!(check_memory(u64::MAX).is_err());
        assert!(Memory::zeroed(usize::MAX / 2).is_err());
        assert!(check_memory(4096).is_ok());
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(512), "0.5 KiB");
        assert_eq!(size(1536 << 20), "1.5 GiB");
        assert_eq!(size(1 << 30), "1.0 GiB");
    }
}
