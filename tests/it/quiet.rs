//! What an eventual read costs before its query runs: nothing is asked of any
//! storage to find out where it goes, and on what.

use std::{
    future::ready,
    time::{Duration, SystemTime},
};

use futures::FutureExt;
use lancegate::{
    domain::{Bounds, Freshness, TableName},
    proto::v1::GetTopologyRequest,
    router::ReadOptions,
};
use tempfile::TempDir;

use super::{
    data::{ipc, small},
    server::{TestServer, settings_with},
};

const READS: usize = 10_000;

/// Calls of read and write that this thread made, and one for asking.
#[cfg(target_os = "linux")]
fn calls() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a count").trim().parse().unwrap()
    };
    count("syscr:") + count("syscw:")
}

fn options(freshness: Freshness) -> ReadOptions {
    ReadOptions {
        freshness,
        wait: Duration::from_secs(5),
        deadline: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eventual_read_is_routed_without_io() {
    let folder = TempDir::new().unwrap();
    // Nobody looks at the locations while the reads run.
    let hours = [
        ("LANCEGATE_REPLICATION__POLL_INTERVAL", "1h"),
        ("LANCEGATE_HEALTH__PROBE_INTERVAL", "1h"),
    ];
    let config = settings_with(folder.path(), 3, &hours);
    let mut server = TestServer::start_with(folder, config).await;
    server.table_of("t", ipc(&small(0, 10))).await;
    let table = TableName::parse("t").unwrap();
    let router = server.app.router().unwrap();
    let newest = router.primary().connection().catalog().position(&table);
    let bounds = |position, as_of| {
        Freshness::Bounded(Bounds {
            position,
            as_of,
            ..Bounds::NONE
        })
    };
    // Polled once, and not again: what takes one poll has waited for nothing, and
    // Lance reads files on threads of their own.
    let at_once = |freshness: &Freshness| {
        let options = options(freshness.clone());
        let version = |s: std::sync::Arc<lancegate::storage::Snapshot>| ready(Ok(s.version()));
        router.read(&table, &options, version).now_or_never()
    };
    // Every file of every location is gone.
    for place in std::fs::read_dir(server.folder.path()).unwrap() {
        std::fs::remove_dir_all(place.unwrap().path()).unwrap();
    }
    #[cfg(target_os = "linux")]
    let (asking, before) = {
        let first = calls();
        let second = calls();
        (second - first, second)
    };
    let kinds = [
        Freshness::EVENTUAL,
        bounds(newest, None),
        bounds(None, Some(SystemTime::UNIX_EPOCH)),
    ];
    for freshness in &kinds {
        for _read in 0..READS {
            let (version, served) = at_once(freshness)
                .unwrap_or_else(|| panic!("{freshness:?} waited"))
                .unwrap();
            assert_eq!(version, newest.unwrap().version);
            assert!(served.route.name.starts_with("replica-"));
        }
    }
    #[cfg(target_os = "linux")]
    assert_eq!(calls() - before, asking);
    // A read that has to look finds out that there is nothing left.
    let strong = options(Freshness::Strong);
    let looked = router.read(&table, &strong, |s| ready(Ok(s.version())));
    assert!(looked.await.is_err());
    let topology = server.cluster.get_topology(GetTopologyRequest {}).await;
    let replicas = topology.unwrap().into_inner().connections;
    let reads: u64 = replicas.iter().skip(1).map(|c| c.reads_total).sum();
    assert!(reads >= (kinds.len() * READS) as u64);
}
