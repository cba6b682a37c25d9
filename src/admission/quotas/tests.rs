//! Rates, counts, and who is told apart.

use std::collections::BTreeMap;

use governor::clock::FakeRelativeClock;

use super::*;
use crate::domain::Proof;

fn settings(quota: Quota) -> config::Quotas {
    config::Quotas {
        default: quota,
        principals: BTreeMap::new(),
        max_identities: 3,
    }
}

fn rate(requests_per_second: f64, burst: u32) -> Quota {
    Quota {
        requests_per_second,
        burst,
        ..Quota::default()
    }
}

fn who(name: &str) -> Identity {
    by(name, Proof::ApiKey)
}

fn by(name: &str, proof: Proof) -> Identity {
    Identity::Principal(Arc::new(Principal {
        name: name.into(),
        proof,
    }))
}

type Faked = Arc<Quotas<FakeRelativeClock>>;

fn quotas(settings: config::Quotas) -> (Faked, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Quotas::with_clock(settings, clock.clone()), clock)
}

/// How many of so many requests may begin, each over before the next one.
fn passed(quotas: &Faked, name: &str, n: usize) -> usize {
    (0..n).filter(|_| quotas.begin(who(name)).is_ok()).count()
}

#[test]
fn everybody_has_a_burst_and_a_rate_of_their_own() {
    let (quotas, clock) = quotas(settings(rate(2.0, 3)));
    assert_eq!(passed(&quotas, "a", 10), 3);
    assert_eq!(passed(&quotas, "b", 10), 3, "b is not a");
    // Nor is somebody whom an issuer of tokens has given that name.
    assert!(quotas.begin(by("a", Proof::Jwt)).is_ok());
    let Err(Over::Rate(wait)) = quotas.begin(who("a")) else {
        panic!("a has nothing left");
    };
    assert!(
        wait <= Duration::from_millis(500) && wait > Duration::ZERO,
        "{wait:?}"
    );
    clock.advance(wait);
    assert_eq!(passed(&quotas, "a", 10), 1, "the time said is enough");
    clock.advance(Duration::from_secs(100));
    assert_eq!(
        passed(&quotas, "a", 10),
        3,
        "no more than a burst is saved up"
    );
}

#[test]
fn what_is_under_way_is_bounded_and_given_back() {
    let (quotas, _) = quotas(settings(Quota {
        max_concurrent_requests: 2,
        ..rate(1.0, 100)
    }));
    let first = quotas.begin(who("a")).unwrap();
    let second = quotas.begin(who("a")).unwrap();
    for _ in 0..200 {
        // These take nothing from the rate.
        assert_eq!(quotas.begin(who("a")).err(), Some(Over::Concurrency(2)));
    }
    assert!(quotas.begin(who("b")).is_ok());
    drop(first);
    assert_eq!(passed(&quotas, "a", 10), 10);
    drop(second);
}

#[test]
fn who_is_idle_is_forgotten_and_who_has_no_room_shares() {
    let (quotas, clock) = quotas(settings(rate(1.0, 2)));
    for name in ["a", "b", "c"] {
        assert_eq!(passed(&quotas, name, 5), 2);
    }
    // There is room for three: the others are one.
    assert_eq!(passed(&quotas, "d", 1), 1);
    assert_eq!(passed(&quotas, "e", 5), 1);
    // And those who are known keep their own account.
    assert_eq!(passed(&quotas, "a", 5), 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(passed(&quotas, "a", 5), 1);
    // b, c and the others have all again, which is what the unknown have.
    clock.advance(Duration::from_millis(1_100));
    assert_eq!(passed(&quotas, "e", 5), 2);
    let known = quotas.lock().known.len();
    assert_eq!(known, 2, "a and e");
    // An identity whose request runs is never forgotten.
    let running = quotas.begin(who("f")).unwrap();
    clock.advance(Duration::from_secs(1_000));
    assert_eq!(passed(&quotas, "g", 1), 1);
    assert!(quotas.lock().known.contains_key(&who("f")));
    drop(running);
}

#[test]
fn a_reload_counts_at_once_and_loses_nothing_under_way() {
    let (quotas, _) = quotas(settings(rate(1.0, 1)));
    let running = quotas.begin(who("a")).unwrap();
    assert!(quotas.begin(who("a")).is_err());
    let one = Quota {
        max_concurrent_requests: 1,
        ..Quota::default()
    };
    quotas.set(settings(one));
    assert_eq!(quotas.begin(who("a")).err(), Some(Over::Concurrency(1)));
    drop(running);
    assert_eq!(passed(&quotas, "a", 100), 100);
    quotas.set(settings(Quota::default()));
    assert!(matches!(quotas.begin(who("a")), Ok(None)));
}

#[test]
fn names_have_what_is_theirs() {
    let mut settings = settings(rate(1.0, 1));
    settings.principals = BTreeMap::from([
        ("big-*".to_owned(), rate(1.0, 7)),
        ("anonymous".to_owned(), rate(1.0, 4)),
    ]);
    let (quotas, _) = quotas(settings);
    assert_eq!(passed(&quotas, "big-one", 9), 7);
    assert_eq!(passed(&quotas, "small", 9), 1);
    let address = |n: u8| Identity::Address(Client::of(Some([10, 0, 0, n].into())));
    let ok = (0..9).filter(|_| quotas.begin(address(1)).is_ok()).count();
    assert_eq!(ok, 4);
    assert!(
        quotas.begin(who("anonymous")).is_ok(),
        "a name is no address"
    );
}
