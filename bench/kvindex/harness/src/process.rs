//! What this process costs.
use std::time::Duration;

/// Anonymous resident memory in bytes, once free memory is given back.
pub fn resident_bytes() -> u64 {
    // Safe to call at any time.
    unsafe { libc::malloc_trim(0) };
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells memory");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("it tells RssAnon");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).expect("a number");
    kib * 1024
}

/// CPU time of all threads.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // Safe: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
