//! The options for times and retries of stores: that each does what it says.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{
    faulty::{
        endpoint,
        proxy::{Faults, Proxy},
        through,
    },
    process::{self, Ended},
};

/// What `check-config --probe` says of a primary behind the proxy with these options.
async fn check(proxy: &Proxy, options: &[(&str, &str)]) -> Ended {
    let folder = TempDir::new().unwrap();
    let mut command = process::command(folder.path(), 0, &["check-config", "--probe"]);
    let settings = through(proxy, folder.path());
    command.envs(
        settings
            .into_iter()
            .filter(|(key, _)| key.starts_with("LANCEGATE_PRIMARY")),
    );
    for (option, value) in options {
        let key = format!(
            "LANCEGATE_PRIMARY__STORAGE_OPTIONS__{}",
            option.to_ascii_uppercase()
        );
        command.env(key, value);
    }
    process::run(command).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn a_request_is_repeated_as_often_as_the_option_says() {
    let requests = async |retries: &str| {
        let proxy = Proxy::start(&endpoint(), Faults::down()).await;
        let ended = check(&proxy, &[("client_max_retries", retries)]).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        proxy.requests()
    };
    let once = requests("0").await;
    assert!((1..10).contains(&once), "{once} requests to open it");
    assert_eq!(requests("2").await, 3 * once);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a store: tests/external/checks/stores.sh has one"]
async fn a_request_takes_no_longer_than_the_option_says() {
    let proxy = Proxy::start(&endpoint(), Faults::far(Duration::from_secs(1))).await;
    let began = Instant::now();
    let hasty = [("timeout", "300ms"), ("client_max_retries", "0")];
    let ended = check(&proxy, &hasty).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.out.contains("did not answer in time"),
        "{}",
        ended.out
    );
    // Each of its requests would take longer than that.
    let fast = began.elapsed();
    assert!(fast < Duration::from_secs(10), "{fast:?}");
    let ended = check(&proxy, &[("timeout", "30s")]).await;
    let in_time = ended.out.contains("can read\n") && !ended.out.contains("in time");
    assert!(in_time, "{ended:?}");
}
