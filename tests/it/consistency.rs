//! The consistency checker: many clients, random writes and reads through two
//! routers, with lag, pauses, killed copiers, restarted routers and re-created
//! tables. Every answer must be one that a single, correct table could have given.

mod clients;
mod cluster;
mod history;

use std::sync::Arc;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::{
    clients::{Client, ROWS, TABLES, World},
    cluster::{Broken, Cluster},
    history::{Outcome, violations},
};
use crate::place::looks;

/// Operations of one run. The long run of 100,000 is the same test with this
/// variable set.
fn operations() -> usize {
    let set = std::env::var("CONSISTENCY_OPERATIONS").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(1_200)
}

fn seed() -> u64 {
    let set = std::env::var("CONSISTENCY_SEED").ok();
    set.and_then(|n| n.parse().ok()).unwrap_or(20_261_121)
}

const CLIENTS: usize = 10;

/// Runs clients against a cluster; answers what was wrong.
async fn run(broken: Broken, operations: usize) -> Vec<String> {
    let seed = seed();
    println!("CONSISTENCY_SEED={seed}");
    let folder = TempDir::new().unwrap();
    let cluster = Arc::new(Cluster::start(folder.path(), broken).await);
    let world = Arc::new(World::new(Arc::clone(&cluster)));
    for table in 0..TABLES {
        create(&world, table).await;
    }
    let stop = CancellationToken::new();
    let disturber = tokio::spawn({
        let (cluster, stop) = (Arc::clone(&cluster), stop.clone());
        async move { cluster.disturb(seed, stop).await }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| {
            let client = Client::new(id, seed, Arc::clone(&world));
            tokio::spawn(client.run(operations / CLIENTS))
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    stop.cancel();
    disturber.await.unwrap();
    let history = world.history.lock().unwrap();
    let count = |wanted: fn(&Outcome) -> bool| {
        let found = history.iter().filter(|e| wanted(&e.outcome)).count();
        100 * found / history.len().max(1)
    };
    let reads = count(|o| matches!(o, Outcome::Read { .. }));
    let writes = count(|o| matches!(o, Outcome::Written(_)));
    let found = violations(&history, ROWS);
    println!(
        "{} operations: {reads} % reads and {writes} % writes answered, {} violations",
        history.len(),
        found.len()
    );
    assert!(reads >= 30 && writes >= 5, "hardly anything was answered");
    found
}

async fn create(world: &Arc<World>, table: usize) {
    let mut client = Client::new(CLIENTS, 0, Arc::clone(world));
    for _ in 0..500 {
        let channel = world.cluster.channel(0);
        let began = 0;
        if let Some(outcome @ Outcome::Written(_)) = client.recreate(table, channel).await {
            world.history.lock().unwrap().push(history::Event {
                client: CLIENTS,
                table,
                began,
                ended: 1,
                outcome,
            });
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("no table within 10 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_a_single_table_could_give() {
    let found = run(Broken::Nothing, operations()).await;
    assert!(found.is_empty(), "{:#?}", &found[..found.len().min(20)]);
}

/// Whether what is broken shows as one of these violations. When it strikes is
/// a matter of the machine's pace, so a few runs may be needed.
async fn is_found(broken: Broken, words: &[&str]) -> bool {
    for _run in 0..looks(5) {
        let found = run(broken, 500).await;
        if found.iter().any(|v| words.iter().any(|w| v.contains(w))) {
            return true;
        }
        println!("nothing of {words:?} among {found:?}");
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_check_stale_reads_are_found() {
    assert!(is_found(Broken::IgnoreTokens, &["stale"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_manifest_first_broken_reads_are_found() {
    assert!(is_found(Broken::ManifestFirst, &["broken", "torn"]).await);
}
