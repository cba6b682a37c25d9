//! A seeded simulation: the decisions, the pool, its budgets and the walk as they
//! are, on connections that are made up, under a clock that is. Each seed is another
//! run of trouble; the seed of a run that breaks an invariant is printed.

mod world;

use world::{Broken, run};

const SEEDS: u64 = 1_000;

#[test]
fn a_thousand_seeds_break_no_invariant() {
    for seed in 0..SEEDS {
        let broken = run(seed, Broken::Nothing);
        assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
    }
}

/// The invariants are ones that can break: each of these routers breaks one.
#[test]
fn a_router_that_is_broken_on_purpose_is_found_out() {
    for (how, says) in [
        (Broken::StaleRetries, "staler"),
        (Broken::BlindToEjection, "unhealthy first choice"),
        (Broken::Spendthrift, "retries"),
    ] {
        let found = (0..200).find(|seed| {
            let broken = run(*seed, how);
            broken.iter().any(|text| text.contains(says))
        });
        assert!(found.is_some(), "{how:?} was not noticed");
    }
}
