//! Handles of series that are written on every request, looked up once: the
//! facade would build the labels anew each time.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use metrics::Counter;

/// Values of a fixed label that have a counter ready: the 17 codes and `ok`.
const SLOTS: usize = 18;

/// The counters of one name that differ in one label of few, static values.
pub(super) struct Outcomes {
    slots: [OnceLock<(&'static str, Counter)>; SLOTS],
    make: Box<dyn Fn(&'static str) -> Counter + Send + Sync>,
}

impl Outcomes {
    /// `make` registers the counter of one value.
    pub(super) fn new(make: impl Fn(&'static str) -> Counter + Send + Sync + 'static) -> Self {
        Self {
            slots: [const { OnceLock::new() }; SLOTS],
            make: Box::new(make),
        }
    }

    /// Counts one of `value`.
    pub(super) fn count(&self, value: &'static str) {
        for slot in &self.slots {
            let (taken_by, counter) = slot.get_or_init(|| (value, (self.make)(value)));
            if *taken_by == value {
                return counter.increment(1);
            }
        }
        // More values than expected: slower, and still right.
        (self.make)(value).increment(1);
    }
}

/// Things that are kept by name and made when they are first asked for.
pub(super) struct ByName<T>(RwLock<HashMap<String, Arc<T>>>);

impl<T> ByName<T> {
    pub(super) fn new() -> Self {
        Self(RwLock::new(HashMap::new()))
    }

    /// The thing of that name, if it was made.
    pub(super) fn find(&self, name: &str) -> Option<Arc<T>> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.get(name).cloned()
    }

    /// The thing of that name. `None` if there is none and `max` others are.
    pub(super) fn get_within(
        &self,
        max: usize,
        name: &str,
        make: impl FnOnce() -> T,
    ) -> Option<Arc<T>> {
        if let Some(found) = self.find(name) {
            return Some(found);
        }
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have made it between the two locks.
        if !map.contains_key(name) && map.len() >= max {
            return None;
        }
        let made = map
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(make()));
        Some(Arc::clone(made))
    }

    /// Does something with each thing.
    pub(super) fn each(&self, mut act: impl FnMut(&T)) {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.values().for_each(|thing| act(thing));
    }
}
