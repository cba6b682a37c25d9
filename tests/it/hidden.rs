//! Faults that no client sees: reads are tried elsewhere, and who answers badly is
//! left alone for a while.

use std::{collections::BTreeMap, time::Duration};

use lancegate::{
    config::failpoint::set_faults,
    pool::{MemberFacts, Standing},
    proto::v1::*,
};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    data::{ipc, small},
    server::{TestServer, http_get, settings_with, wait_until},
};

/// Retries as they are by default, and a budget that a loop of reads does not use up.
const RETRIES: [(&str, &str); 2] = [
    ("LANCEGATE_RETRIES__MAX_ATTEMPTS", "3"),
    ("LANCEGATE_RETRIES__MIN_PER_SECOND", "1000"),
];

const EJECTIONS: [(&str, &str); 3] = [
    ("LANCEGATE_OUTLIER__ENABLED", "true"),
    ("LANCEGATE_OUTLIER__EJECTION", "300ms"),
    ("LANCEGATE_OUTLIER__MAX_EJECTION", "1s"),
];

/// A server with a table of 100 rows on three replicas. The names are of one test
/// alone: faults are told to connections by their names.
async fn server(names: [&'static str; 3], more: &[(&str, &str)]) -> TestServer {
    let folder = TempDir::new().unwrap();
    let keys = [0, 1, 2].map(|i| format!("LANCEGATE_REPLICAS__{i}__NAME"));
    let mut env: Vec<(&str, &str)> = keys.iter().map(String::as_str).zip(names).collect();
    env.extend(more);
    let config = settings_with(folder.path(), 3, &env);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 100))).await;
    server
}

/// Reads one after the other. Answers who served how many, and the routes.
async fn reads(server: &mut TestServer, count: usize) -> (BTreeMap<String, usize>, Vec<String>) {
    let mut by_connection = BTreeMap::new();
    let mut routes = Vec::new();
    for i in 0..count {
        let scan = ScanRequest {
            table: "t".into(),
            ..Default::default()
        };
        let answer = server.search.scan(scan).await;
        let answer = answer.unwrap_or_else(|status| panic!("read {i}: {status:?}"));
        let answer = answer.into_inner();
        assert_eq!(answer.num_rows, 100);
        let served = answer.served.expect("who answered");
        *by_connection.entry(served.connection).or_default() += 1;
        routes.push(served.route);
    }
    (by_connection, routes)
}

fn facts(server: &TestServer, name: &str) -> MemberFacts {
    let facts = server.app.router().unwrap().pool().facts(Instant::now());
    facts.into_iter().find(|f| &*f.name == name).expect("it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_files_are_gone_costs_no_client_an_error() {
    let names = ["gone-1", "gone-2", "gone-3"];
    // Nobody looks at the locations: a read is the first to notice.
    let hours = [
        ("LANCEGATE_REPLICATION__POLL_INTERVAL", "1h"),
        ("LANCEGATE_HEALTH__PROBE_INTERVAL", "1h"),
    ];
    let more = [&RETRIES[..], &EJECTIONS[..], &hours[..]].concat();
    let mut server = server(names, &more).await;
    reads(&mut server, 9).await;
    // The folders have the names that the tests' settings give.
    let replica = server.folder.path().join("replica-2");
    let away = server.folder.path().join("away");
    std::fs::rename(&replica, &away).unwrap();
    let (by_connection, routes) = reads(&mut server, 120).await;
    assert!(
        routes.iter().any(|route| route.ends_with("retry 1)")),
        "nobody noticed: {routes:?}"
    );
    assert!(by_connection["gone-1"] >= 40 && by_connection["gone-3"] >= 40);

    std::fs::rename(&away, &replica).unwrap();
    for _ in 0..600 {
        let (by_connection, _) = reads(&mut server, 6).await;
        if by_connection.contains_key("gone-2") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it gets no reads: {:?}", facts(&server, "gone-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_of_failing_reads_costs_few_attempts_and_no_error() {
    for ejections in [&[][..], &EJECTIONS[..]] {
        let names = ["fifth-1", "fifth-2", "fifth-3"];
        let more = [&RETRIES[..], ejections].concat();
        let mut server = server(names, &more).await;
        set_faults("fifth-2=fail:20");
        reads(&mut server, 600).await;
        set_faults("fifth-2=fail:0");
        let attempts = |name| facts(&server, name).attempts;
        let attempts: u64 = names.into_iter().map(attempts).sum();
        let each = attempts as f64 / 600.0;
        println!("{each} attempts for a read, {} ejections", ejections.len());
        assert!((1.0..=1.2).contains(&each), "{attempts} for 600 reads");
        assert!(facts(&server, "fifth-2").faults > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_is_ejected_and_comes_back() {
    let names = ["eject-1", "eject-2", "eject-3"];
    let more = [&RETRIES[..], &EJECTIONS[..]].concat();
    let mut server = server(names, &more).await;
    set_faults("eject-2=fail:100");
    let (by_connection, _) = reads(&mut server, 60).await;
    assert!(!by_connection.contains_key("eject-2"), "{by_connection:?}");
    let out = facts(&server, "eject-2");
    assert!(out.ejections > 0, "{out:?}");
    assert_eq!(facts(&server, "eject-1").ejections, 0);
    let (_, metrics) = http_get(server.app.http_address(), "/metrics").await;
    for line in [
        "lancegate_ejections_total{connection=\"eject-2\",reason=\"consecutive_failures\"}",
        "lancegate_connection_share{connection=\"eject-2\"}",
        "lancegate_read_attempts_total{kind=\"retry\"}",
        "lancegate_read_retries_total{outcome=\"answered\"}",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    // Nobody reads meanwhile: it is the probes that let it in.
    set_faults("eject-2=fail:0");
    wait_until("let in again", || {
        facts(&server, "eject-2").standing == Standing::Ready
    })
    .await;
    let (by_connection, _) = reads(&mut server, 30).await;
    assert!(by_connection.contains_key("eject-2"), "{by_connection:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retries_the_client_sees_it() {
    let mut server = server(["bare-1", "bare-2", "bare-3"], &[]).await;
    set_faults("bare-2=fail:100");
    let mut failed = 0;
    for _ in 0..30 {
        let scan = ScanRequest {
            table: "t".into(),
            ..Default::default()
        };
        failed += usize::from(server.search.scan(scan).await.is_err());
    }
    set_faults("bare-2=fail:0");
    assert_eq!(failed, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_read_is_sent_twice_where_that_is_wanted() {
    let hedging = [
        ("LANCEGATE_RETRIES__MAX_ATTEMPTS", "3"),
        ("LANCEGATE_HEDGING__ENABLED", "true"),
        ("LANCEGATE_HEDGING__DELAY", "50ms"),
        ("LANCEGATE_HEDGING__BUDGET_PERCENT", "100"),
    ];
    let mut server = server(["hedge-1", "hedge-2", "hedge-3"], &hedging).await;
    // Longer than any test waits: only another replica can answer these reads.
    set_faults("hedge-2=slow:1h");
    let (by_connection, routes) = reads(&mut server, 9).await;
    assert!(!by_connection.contains_key("hedge-2"));
    let hedged = routes.iter().filter(|r| r.ends_with(" hedge)")).count();
    assert!(hedged >= 3, "{routes:?}");
    // The losers were dropped.
    assert_eq!(facts(&server, "hedge-2").in_flight, 0);
    set_faults("hedge-2=slow:0s");
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_and_zones_of_the_configuration_are_kept() {
    let weights = [("LANCEGATE_REPLICAS__0__WEIGHT", "2")];
    let mut weighted = server(["weight-1", "weight-2", "weight-3"], &weights).await;
    let (by_connection, routes) = reads(&mut weighted, 80).await;
    let expected = [("weight-1", 40), ("weight-2", 20), ("weight-3", 20)];
    let expected = expected.map(|(name, reads)| (name.to_owned(), reads));
    assert_eq!(by_connection, BTreeMap::from(expected));
    assert!(routes.contains(&"round_robin(weight-1 weight 2/4)".to_owned()));

    let zones = [
        ("LANCEGATE_BALANCE__ZONE", "a"),
        ("LANCEGATE_REPLICAS__0__ZONE", "b"),
        ("LANCEGATE_REPLICAS__1__ZONE", "a"),
        ("LANCEGATE_REPLICAS__2__ZONE", "b"),
    ];
    let more = [&RETRIES[..], &zones[..]].concat();
    let mut zoned = server(["zone-1", "zone-2", "zone-3"], &more).await;
    let (by_connection, _) = reads(&mut zoned, 12).await;
    assert_eq!(by_connection, BTreeMap::from([("zone-2".to_owned(), 12)]));
    set_faults("zone-2=fail:100");
    let (_, routes) = reads(&mut zoned, 4).await;
    set_faults("zone-2=fail:0");
    let elsewhere = |route: &String| route.ends_with(" other_zone retry 1)");
    assert!(routes.iter().all(elsewhere), "{routes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_runs_least_and_who_answers_soonest_can_be_preferred() {
    for (policy, word, names) in [
        (
            "least_request",
            "least_request(",
            ["least-1", "least-2", "least-3"],
        ),
        (
            "p2c_peak_ewma",
            "p2c_peak_ewma(",
            ["p2c-1", "p2c-2", "p2c-3"],
        ),
    ] {
        let mut server = server(names, &[("LANCEGATE_BALANCE__POLICY", policy)]).await;
        let (_, routes) = reads(&mut server, 30).await;
        assert!(routes.iter().all(|r| r.starts_with(word)), "{routes:?}");
    }
}
