//! How much memory this process holds.

/// Bytes of this process that lie in memory, as the system counts them; `None` where it does not say (only Linux does).
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// The largest value that [`resident`] has had.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kib: u64 = kib.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_to_is_counted() {
        let before = resident().unwrap();
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = resident().unwrap();
        assert!(after > before + (32 << 20), "{before} {after}");
        drop(held);
    }
}
