//! Refusals of who asks again and again: so many a second are told, of one caller and of
//! all, and the others counted. Whoever floods a port fills no disk with it, pushes out no
//! line of what others changed, and hides nobody else's refusals.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Lines of refusals within a second: of one caller, and of all.
pub(super) const OF_ONE: usize = 50;
pub(super) const ALL: usize = 200;

pub(super) struct Floods(Mutex<Second>);

struct Second {
    since: Instant,
    /// Of all callers, and of each who has one: at most [`ALL`] of them.
    lines: usize,
    of: HashMap<String, usize>,
    /// Refusals that no line has told of.
    left_out: u64,
}

impl Floods {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Second {
            since: Instant::now(),
            lines: 0,
            of: HashMap::new(),
            left_out: 0,
        }))
    }

    /// Whether there is room for another line of this caller in this second: how many
    /// refusals had none since the last one that had.
    pub(super) fn admit(&self, caller: &str) -> Option<u64> {
        let mut second = self.second();
        if second.since.elapsed() >= Duration::from_secs(1) {
            (second.since, second.lines) = (Instant::now(), 0);
            second.of.clear();
        }
        let own = second.of.get(caller).copied().unwrap_or(0);
        if second.lines >= ALL || own >= OF_ONE {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        second.of.insert(caller.to_owned(), own + 1);
        Some(std::mem::take(&mut second.left_out))
    }

    /// How many no line has told of.
    pub(super) fn rest(&self) -> u64 {
        std::mem::take(&mut self.second().left_out)
    }

    fn second(&self) -> MutexGuard<'_, Second> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_in_part_and_counted_whole() {
        let floods = Floods::new();
        let (mut told, mut counted) = (0, 0);
        for _ in 0..3 * OF_ONE {
            if let Some(left_out) = floods.admit("a") {
                (told, counted) = (told + 1, counted + 1 + left_out);
            }
        }
        // Two seconds at most, whatever the machine does.
        assert!((OF_ONE..=2 * OF_ONE).contains(&told), "{told}");
        floods.second().since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        counted += 1 + floods.admit("a").unwrap();
        assert_eq!(counted, 3 * OF_ONE as u64 + 1);
    }

    #[test]
    fn one_who_floods_hides_nobody_else_and_all_together_are_bounded() {
        let floods = Floods::new();
        for _ in 0..1_000 {
            floods.admit("a");
        }
        assert!(floods.admit("b").is_some());
        let told = (0..1_000).filter(|i| floods.admit(&i.to_string()).is_some());
        assert!((ALL / 2..=2 * ALL).contains(&told.count()));
        assert!(floods.second().of.len() <= ALL);
    }
}
