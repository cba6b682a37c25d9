//! The machine that it runs on, and what processes say of themselves.

use std::{fs, time::Duration};

use serde::Serialize;

use crate::Result;

/// Figures mean nothing without it.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
    /// Processes that wanted to run in the last minute, before we began.
    pub load_average: f64,
}

pub fn describe() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(':')
                .map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".into());
    let load = read("/proc/loadavg");
    Machine {
        cores: cores(),
        cpu,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        load_average: load
            .split(' ')
            .next()
            .and_then(|load| load.parse().ok())
            .unwrap_or_default(),
    }
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What Lance reads when its first query comes.
pub const LANCE_CPU_THREADS: &str = "LANCE_CPU_THREADS";

/// As the server does: see src/main.rs. Must be called while there is one thread.
pub fn give_lance_every_core() {
    if std::env::var_os(LANCE_CPU_THREADS).is_none() {
        // SAFETY: called first thing in main, before any thread is started.
        unsafe { std::env::set_var(LANCE_CPU_THREADS, cores().to_string()) };
    }
}

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    pub resident: u64,
    /// Of that, what is not mapped from files, such as the program itself.
    pub anonymous: u64,
}

pub fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = |name: &str| -> Result<u64> {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
        let value = value.ok_or_else(|| format!("/proc/{pid}/status has no {name}"))?;
        Ok(value.trim().parse::<u64>()? * 1024)
    };
    Ok(Memory {
        resident: kilobytes("VmRSS:")?,
        anonymous: kilobytes("RssAnon:")?,
    })
}

/// Ticks of the kernel's clock in a second, as /proc counts them (USER_HZ).
const TICKS_A_SECOND: f64 = 100.0;

/// Processor time that this process has used, without those that it started.
pub fn own_cpu_time() -> Result<Duration> {
    time_of("self")
}

/// Processor time that a process and those that it started have used.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let own = time_of(&pid.to_string())?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    children
        .split_whitespace()
        .try_fold(own, |sum, child| Ok(sum + cpu_time(child.parse()?)?))
}

fn time_of(process: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // utime and stime, the 14th and 15th field. The second is a name in
    // brackets, which may hold anything.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times: Vec<f64> = after_name
        .split_whitespace()
        .skip(14 - 3)
        .take(2)
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    let ticks: f64 = times.iter().sum();
    Ok(Duration::from_secs_f64(ticks / TICKS_A_SECOND))
}
