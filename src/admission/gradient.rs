//! How many reads to work on at once: as many as do not make one another slow.
//!
//! The rule is that of `Gradient2Limit` in Netflix' concurrency-limits: compare
//! what reads take now with what they take by themselves, and let the limit
//! follow the ratio, plus a little room to try more:
//!
//! ```text
//! gradient = clamp(tolerance * usual / now, 0.5, 1.0)
//! limit    = limit * 0.8 + (limit * gradient + headroom) * 0.2
//! ```
//!
//! From there are also the smoothing of 0.2, the floor and the ceiling of the
//! gradient, that a window has at least 10 answers, and that a limit of which
//! less than a half is used is left alone. From Envoy's gradient controller
//! (adaptive_concurrency) are the headroom of the limit's square root, and that
//! at the least limit the usual time is learnt anew: what reads take when so few
//! of them run is what they take by themselves. Netflix' average would learn an
//! overload as the usual state after some minutes, and Envoy stops all traffic
//! from time to time to measure; here the usual time only ever grows where the
//! limit is not used up, or at its least.
//!
//! Reads of different methods take different times, and their mix changes: each
//! has its usual time, and what counts is how much slower than usual reads are.
//! The median of a window stands for its answers, so that a few slow ones say
//! nothing.

#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use tokio::time::Instant;

use crate::config::Admission;

/// How much of a step is taken (`smoothing`).
const SMOOTHING: f64 = 0.2;

/// The least gradient: an outlier does not cost more than half.
const MIN_GRADIENT: f64 = 0.5;

/// Answers that a window needs.
const MIN_ANSWERS: usize = 10;

/// Answers that are looked at in a window: the first ones.
const MAX_ANSWERS: usize = 256;

/// How long a window is at least. Netflix has 1 s, Envoy's examples 100 ms.
const WINDOW: Duration = Duration::from_millis(200);

/// How fast the usual time follows shorter ones.
const FASTER: f64 = 0.1;

/// And longer ones, where much of the limit is free.
const SLOWER: f64 = 0.02;

/// And longer ones at the least limit.
const ANEW: f64 = 0.3;

/// With the least gradient and the headroom no limit falls below 4.
const BOTTOM: f64 = 5.0;

/// What takes less than this is not told apart: it is not the machine's load
/// that makes it 300 or 600 microseconds.
const LEAST: Duration = Duration::from_millis(1);

/// Without a read for so long, the machine's caches are others', and what the
/// limit has grown to is not trusted any more.
const IDLE: Duration = Duration::from_secs(30);

/// Kinds of reads that have a usual time of their own.
pub const SIGNALS: usize = 8;

/// A kind of reads whose time tells of the machine's load; below [`SIGNALS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(u8);

impl Signal {
    /// The kind of this number, if there is room for it.
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < SIGNALS).then_some(Self(number))
    }
}

/// What the limit may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub min: usize,
    /// Where it begins, and begins again after a pause.
    pub initial: usize,
    pub max: usize,
    /// How much slower than by themselves reads may be; at least 1.
    pub tolerance: f64,
}

impl Range {
    /// What the settings mean under the hard limit.
    pub fn of(settings: &Admission, max: usize) -> Self {
        let min = settings.min_concurrent_requests.clamp(1, max);
        Self {
            min,
            initial: settings.initial_concurrent_requests.clamp(min, max),
            max,
            tolerance: settings.latency_tolerance,
        }
    }
}

/// One change of the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub answers: usize,
    /// Time now over the usual time.
    pub slowdown: f64,
    /// Whether most of the limit was free, so that it stays.
    pub calm: bool,
    pub from: f64,
    pub to: f64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calm = if self.calm { ", calm" } else { "" };
        write!(
            f,
            "{:.1} -> {:.1} (x{:.2} the usual time, {} answers{calm})",
            self.from, self.to, self.slowdown, self.answers
        )
    }
}

/// The limit, and what it was found by.
#[derive(Debug)]
pub struct Gradient {
    range: Range,
    limit: f64,
    /// Usual seconds, by kind.
    usual: [Option<f64>; SIGNALS],
    window: Window,
    last_read: Instant,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    /// Most reads at once in it.
    peak: usize,
    /// Kinds and seconds.
    answers: Vec<(Signal, f64)>,
}

impl Window {
    fn new(now: Instant) -> Self {
        Self {
            began: now,
            peak: 0,
            answers: Vec::new(),
        }
    }
}

impl Gradient {
    /// A limit that begins at `range.initial`.
    pub fn new(range: Range, now: Instant) -> Self {
        Self {
            limit: range.initial as f64,
            range,
            usual: [None; SIGNALS],
            window: Window::new(now),
            last_read: now,
        }
    }

    /// Reads that may be worked on at once; at least 1.
    pub fn limit(&self) -> usize {
        (self.limit as usize).clamp(1, self.range.max.max(1))
    }

    /// Another range; the limit is kept as far as it is within.
    pub fn set_range(&mut self, range: Range) {
        self.range = range;
        self.limit = self.limit.clamp(range.min as f64, range.max as f64);
    }

    /// A read came, and with it so many are worked on.
    pub fn arrived(&mut self, in_flight: usize, now: Instant) {
        if now.duration_since(self.last_read) >= IDLE {
            self.limit = self.limit.min(self.range.initial as f64);
            self.window = Window::new(now);
        }
        self.last_read = now;
        self.window.peak = self.window.peak.max(in_flight);
    }

    /// A read was answered after this time. The change of the limit, if a window
    /// ended with it.
    pub fn answered(&mut self, signal: Signal, took: Duration, now: Instant) -> Option<Step> {
        if self.window.answers.len() < MAX_ANSWERS {
            let seconds = took.max(LEAST).as_secs_f64();
            self.window.answers.push((signal, seconds));
        }
        let long_enough = now.duration_since(self.window.began) >= WINDOW;
        if !long_enough || self.window.answers.len() < MIN_ANSWERS {
            return None;
        }
        let window = std::mem::replace(&mut self.window, Window::new(now));
        Some(self.step(window))
    }

    fn step(&mut self, window: Window) -> Step {
        let from = self.limit;
        let calm = (window.peak as f64) < from / 2.0;
        let answers = window.answers.len();
        let slowdown = self.compare(window.answers, calm);
        if !calm {
            let gradient = (self.range.tolerance / slowdown).clamp(MIN_GRADIENT, 1.0);
            let aim = from * gradient + from.sqrt();
            let next = from * (1.0 - SMOOTHING) + aim * SMOOTHING;
            self.limit = next.clamp(self.range.min as f64, self.range.max as f64);
        }
        Step {
            answers,
            slowdown,
            calm,
            from,
            to: self.limit,
        }
    }

    /// How much slower than usual the answers of a window were, each kind by the
    /// number of its answers; and what is usual is learnt.
    fn compare(&mut self, answers: Vec<(Signal, f64)>, calm: bool) -> f64 {
        let at_least = self.limit < (self.range.min as f64 + 1.0).max(BOTTOM);
        let total = answers.len() as f64;
        let mut sum = 0.0;
        for (kind, usual) in self.usual.iter_mut().enumerate() {
            let of_kind = answers.iter().filter(|(s, _)| usize::from(s.0) == kind);
            let mut seconds: Vec<f64> = of_kind.map(|(_, seconds)| *seconds).collect();
            if seconds.is_empty() {
                continue;
            }
            let middle = seconds.len() / 2;
            let (_, now, _) = seconds.select_nth_unstable_by(middle, f64::total_cmp);
            let now = *now;
            let known = *usual.get_or_insert(now);
            sum += now / known * seconds.len() as f64;
            let pace = match (now < known, calm, at_least) {
                (true, ..) => FASTER,
                (false, true, _) => SLOWER,
                (false, false, true) => ANEW,
                (false, false, false) => 0.0,
            };
            *usual = Some(known + pace * (now - known));
        }
        sum / total
    }
}
