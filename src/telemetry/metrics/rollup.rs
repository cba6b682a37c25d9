//! Gauges that stand for many tables at once: the tables that share `_other`
//! must not overwrite each other's number.

use std::{collections::HashMap, mem};

/// The sum of one number per name.
#[derive(Default)]
pub(super) struct Sum {
    values: HashMap<String, u64>,
    total: u64,
}

impl Sum {
    /// Sets the number of one name; answers the sum.
    pub(super) fn set(&mut self, name: &str, value: u64) -> u64 {
        let old = match self.values.get_mut(name) {
            Some(slot) => mem::replace(slot, value),
            None => self.values.insert(name.to_owned(), value).unwrap_or(0),
        };
        self.total = self.total.saturating_sub(old).saturating_add(value);
        self.total
    }

    /// Takes a name out; answers the sum.
    pub(super) fn remove(&mut self, name: &str) -> u64 {
        let old = self.values.remove(name).unwrap_or(0);
        self.total = self.total.saturating_sub(old);
        self.total
    }
}

/// The largest of one number per name; zero for none.
#[derive(Default)]
pub(super) struct Largest {
    values: HashMap<String, f64>,
    largest: f64,
}

impl Largest {
    /// Sets the number of one name; answers the largest.
    pub(super) fn set(&mut self, name: &str, value: f64) -> f64 {
        let old = match self.values.get_mut(name) {
            Some(slot) => mem::replace(slot, value),
            None => self.values.insert(name.to_owned(), value).unwrap_or(0.0),
        };
        if value >= self.largest {
            self.largest = value;
        } else if old >= self.largest {
            self.look_again();
        }
        self.largest
    }

    /// Takes a name out; answers the largest.
    pub(super) fn remove(&mut self, name: &str) -> f64 {
        if self.values.remove(name).is_some_and(|v| v >= self.largest) {
            self.look_again();
        }
        self.largest
    }

    /// Only when the largest itself has shrunk, so that a round over n tables
    /// is not n squared.
    fn look_again(&mut self) {
        self.largest = self.values.values().copied().fold(0.0, f64::max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_follows_its_parts() {
        let mut sum = Sum::default();
        assert_eq!(sum.set("a", 5), 5);
        assert_eq!(sum.set("b", 7), 12);
        assert_eq!(sum.set("a", 1), 8);
        assert_eq!(sum.remove("b"), 1);
        assert_eq!(sum.remove("b"), 1);
    }

    #[test]
    fn the_largest_falls_when_its_owner_does() {
        let mut largest = Largest::default();
        assert_eq!(largest.set("a", 3.0), 3.0);
        assert_eq!(largest.set("b", 9.0), 9.0);
        assert_eq!(largest.set("a", 4.0), 9.0);
        assert_eq!(largest.set("b", 1.0), 4.0);
        assert_eq!(largest.remove("a"), 1.0);
        assert_eq!(largest.remove("b"), 0.0);
    }
}
