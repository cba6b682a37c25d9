//! The figures, for people and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    machine::Machine,
    open_loop::{Answers, Phase},
    probes::Seen,
};

/// Of what is asked in the end, what must be answered.
const TARGET: f64 = 0.95;

pub struct Report {
    machine: Machine,
    capacity: f64,
    phases: Vec<(&'static str, Phase, Answers, Seen)>,
}

/// Of sorted times, the one that this part of them is at most as long as.
fn part(times: &[Duration], part: f64) -> f64 {
    let at = (times.len() as f64 * part) as usize;
    let time = times.get(at.min(times.len().saturating_sub(1)));
    time.map_or(0.0, |t| t.as_secs_f64() * 1e3)
}

fn mebibytes(bytes: Option<&u64>) -> f64 {
    bytes.map_or(0.0, |bytes| *bytes as f64 / f64::from(1 << 20))
}

impl Report {
    pub fn new(machine: Machine, capacity: f64) -> Self {
        Self {
            machine,
            capacity,
            phases: Vec::new(),
        }
    }

    pub fn add(&mut self, name: &'static str, phase: Phase, answers: Answers, seen: Seen) {
        self.phases.push((name, phase, answers, seen));
    }

    pub fn print(&self) {
        for (name, phase, answers, seen) in &self.phases {
            let (sent, ok) = answers.between(Duration::ZERO, phase.length);
            let seconds = phase.length.as_secs_f64();
            println!(
                "\n== {name}: {:.0} searches a second for {seconds:.0} s ==",
                phase.rate
            );
            println!(
                "answered: {ok} of {sent} ({:.1} a second); p50 {:.1} ms, p99 {:.1} ms",
                ok as f64 / seconds,
                part(&answers.took, 0.5),
                part(&answers.took, 0.99),
            );
            if !answers.failed.is_empty() || answers.unsent > 0 {
                println!(
                    "not answered: {:?}, {} not sent; told after p50 {:.1} ms, p99 {:.1} ms",
                    answers.failed,
                    answers.unsent,
                    part(&answers.refused_after, 0.5),
                    part(&answers.refused_after, 0.99),
                );
            }
            println!(
                "health: {} answered, {} failed, the slowest after {:.1} ms",
                seen.answered,
                seen.failed,
                seen.slowest.as_secs_f64() * 1e3
            );
            println!(
                "memory: {:.0} MiB at first, {:.0} at most, {:.0} at last",
                mebibytes(seen.memory.first()),
                mebibytes(seen.memory.iter().max()),
                mebibytes(seen.memory.last()),
            );
        }
        if let Some(part) = self.recovered() {
            let verdict = if part >= TARGET { "reached" } else { "MISSED" };
            println!(
                "\nin the last third: {:.1} % of what was asked was answered (target {:.0} %: {verdict})",
                part * 100.0,
                TARGET * 100.0
            );
        }
    }

    /// Of what was asked in the last third of the last phase, what was answered.
    fn recovered(&self) -> Option<f64> {
        let (_, phase, answers, _) = self.phases.last()?;
        let (sent, ok) = answers.between(phase.length * 2 / 3, phase.length);
        Some(ok as f64 / sent.max(1) as f64)
    }

    pub fn json(&self) -> Value {
        let phases = self.phases.iter().map(|(name, phase, answers, seen)| {
            let (sent, ok) = answers.between(Duration::ZERO, phase.length);
            json!({
                "phase": name,
                "rate": phase.rate,
                "seconds": phase.length.as_secs_f64(),
                "sent": sent,
                "answered": ok,
                "by_second": answers.seconds,
                "p50_ms": part(&answers.took, 0.5),
                "p99_ms": part(&answers.took, 0.99),
                "not_answered": answers.failed,
                "unsent": answers.unsent,
                "health": {
                    "answered": seen.answered,
                    "failed": seen.failed,
                    "slowest_ms": seen.slowest.as_secs_f64() * 1e3,
                },
                "resident_bytes": seen.memory,
            })
        });
        let phases = phases.collect();
        json!({
            "machine": self.machine,
            "capacity": self.capacity,
            "phases": Value::Array(phases),
            "recovered": self.recovered(),
        })
    }
}
