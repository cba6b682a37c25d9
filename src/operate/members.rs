//! What an operator orders of the members of a pool, whatever they stand for.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    config::Config,
    domain::{Error, Result},
    pool::{Member, Pool, Why},
    telemetry::metrics,
};

/// The longest ejection that can be asked for.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The heaviest that a member can be made.
const HEAVIEST: u32 = 1_000;

/// The member of that name in any of these pools.
///
/// # Errors
/// There is none.
pub fn member<'a>(pools: impl Iterator<Item = &'a Pool>, name: &str) -> Result<Arc<Member>> {
    let mut pools = pools;
    pools.find_map(|pool| pool.member(name)).ok_or_else(|| {
        Error::invalid(
            "connection",
            "is no connection of this server; GetTopology names them",
        )
    })
}

/// Takes a member out of turn until it is put into it again.
pub fn drain(member: &Member) {
    member.drain();
    tracing::info!(connection = %member.name(), "drained by an operator");
}

/// Puts a member into turn again, whatever took it out.
pub fn undrain(member: &Member, now: Instant) {
    member.undrain(now);
    member.readmit(now);
    tracing::info!(connection = %member.name(), "put into turn again by an operator");
}

/// Takes a member out of turn for so long.
///
/// # Errors
/// No time, or too much of it.
pub fn eject(member: &Member, lasts: Duration, now: Instant) -> Result<()> {
    if lasts.is_zero() || lasts > LONGEST {
        return Err(Error::invalid(
            "duration",
            "must be more than 0 and at most 24h",
        ));
    }
    member.eject(lasts, Why::Operator, now);
    metrics::ejected(member.label(), Why::Operator.as_str());
    tracing::info!(connection = %member.name(), ?lasts, "ejected by an operator");
    Ok(())
}

/// Gives a member another share of the reads.
///
/// # Errors
/// No weight, or more than there may be.
pub fn set_weight(member: &Member, weight: u32) -> Result<()> {
    if !(1..=HEAVIEST).contains(&weight) {
        let text = format!("must be from 1 to {HEAVIEST}");
        return Err(Error::invalid("weight", text));
    }
    member.set_weight(weight);
    tracing::info!(connection = %member.name(), weight, "weight set by an operator");
    Ok(())
}

/// Lets a pool go by another configuration: its settings, and the weights and zones
/// that are different. Other weights stay as an operator has set them.
pub fn heed(pool: &Pool, old: &Config, new: &Config) {
    if old.pool != new.pool {
        pool.set_settings(new.pool.clone());
    }
    // Their names and their order need a restart.
    for (old, new) in old.replicas.iter().zip(&new.replicas) {
        let Some(member) = pool.member(&new.name) else {
            continue;
        };
        if old.weight != new.weight {
            member.set_weight(new.weight);
        }
        if old.zone != new.zone {
            member.set_zone(new.zone.as_deref().map(Arc::from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, Sources},
        pool::{Budgets, Standing},
    };

    const SLOW_START: Duration = Duration::ZERO;

    fn pool(config: &Config, now: Instant) -> Pool {
        let of = |name: &str| Arc::new(Member::new(name.into(), None, 1, now));
        let budgets = Arc::new(Budgets::new(&config.pool));
        let members = vec![of("replica-1"), of("replica-2")];
        Pool::new(members, config.pool.clone(), budgets, 1, now)
    }

    fn config() -> Config {
        config::load(Sources::default()).unwrap()
    }

    #[test]
    fn what_is_ordered_is_seen() {
        let now = Instant::now();
        let pool = pool(&config(), now);
        let one = member([&pool].into_iter(), "replica-1").unwrap();
        let standing = |later| one.standing(now + Duration::from_secs(later), SLOW_START);
        drain(&one);
        assert_eq!(standing(0), Standing::Draining);
        undrain(&one, now);
        assert_eq!(standing(0), Standing::Ready);
        eject(&one, Duration::from_secs(60), now).unwrap();
        assert!(matches!(
            standing(59),
            Standing::Ejected {
                why: Why::Operator,
                ..
            }
        ));
        assert_eq!(standing(61), Standing::HalfOpen);
        undrain(&one, now);
        assert_eq!(standing(0), Standing::Ready);
        set_weight(&one, 7).unwrap();
        assert_eq!(one.weight(), 7);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let now = Instant::now();
        let pool = pool(&config(), now);
        let one = member([&pool].into_iter(), "replica-1").unwrap();
        for lasts in [Duration::ZERO, LONGEST + Duration::from_nanos(1)] {
            assert!(eject(&one, lasts, now).is_err(), "{lasts:?}");
        }
        for weight in [0, HEAVIEST + 1] {
            assert!(set_weight(&one, weight).is_err(), "{weight}");
        }
        assert!(member([&pool].into_iter(), "replica-3").is_err());
        assert_eq!(one.weight(), 1);
        assert_eq!(one.standing(now, SLOW_START), Standing::Ready);
    }

    #[test]
    fn a_reload_keeps_the_weights_that_it_says_nothing_of() {
        let (old, now) = (config(), Instant::now());
        let pool = pool(&old, now);
        let weight = |name| pool.member(name).unwrap().weight();
        pool.member("replica-1").unwrap().set_weight(5);
        pool.member("replica-2").unwrap().set_weight(6);
        let mut new = old.clone();
        new.replicas[1].weight = 3;
        new.replicas[0].zone = Some("elsewhere".into());
        new.pool.retries.max_attempts = 9;
        heed(&pool, &old, &new);
        assert_eq!((weight("replica-1"), weight("replica-2")), (5, 3));
        let zone = pool.member("replica-1").unwrap().zone();
        assert_eq!(zone.as_deref(), Some("elsewhere"));
        assert_eq!(pool.settings().retries.max_attempts, 9);
    }
}
