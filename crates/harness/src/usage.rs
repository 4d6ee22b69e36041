//! What this process has used of the machine: memory and processor time.

/// What Linux counts as the peak of the resident set, in kB.
const PEAK: &str = "VmHWM:";

/// Peak resident memory so far, bytes; none where the system does not tell (it does on Linux).
pub(crate) fn peak_bytes() -> Option<u64> {
    peak_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(PEAK))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Ticks of a second in `/proc`, the same on every Linux that Rust builds for.
const TICKS: f64 = 100.0;

/// Processor time so far, of all threads in user and system mode, seconds; none where the system does not tell. Unlike the
/// clock on the wall it says little about what else the machine did.
pub(crate) fn cpu_seconds() -> Option<f64> {
    cpu_seconds_in(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15; the second is a name in parentheses that may hold anything.
fn cpu_seconds_in(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_where_linux_writes_it() {
        assert_eq!(peak_in("VmPeak:\t  9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2_097_152));
        assert_eq!(peak_in("Name:\tdelt\n"), None);
    }

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "7 (a ) b) R 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_seconds_in(stat), Some(3.0));
        assert_eq!(cpu_seconds_in("7 (delt) R 1"), None);
        assert!(cpu_seconds().is_none_or(|seconds| seconds >= 0.0));
    }
}
