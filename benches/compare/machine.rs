//! The machine that it runs on, and what processes say of themselves.

use std::fs;

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
