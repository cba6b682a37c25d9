//! The real binary, killed in the middle of writes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::StreamExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tonic::transport::Channel;

use super::{Write, found, runs, seed, try_create};
use crate::{
    place::looks,
    process::{Server, until_some},
    server::reason,
};

/// Rows of one write.
const ROWS: i64 = 3;

/// Clients that write at once.
const WRITERS: i64 = 4;

/// Runs that share a table: one with many versions takes long to open.
const RUNS_A_TABLE: usize = 25;

/// What a client knows of one of its writes.
#[derive(Debug, Clone)]
struct Sent {
    write: Write,
    first: i64,
    acknowledged: bool,
}

fn table(run: usize) -> String {
    format!("t{}", run / RUNS_A_TABLE)
}

/// Writes until there is no answer any more. The rows of the nth write of this
/// writer in this run are `first..first + ROWS`.
async fn write_on(
    channel: Channel,
    run: usize,
    writer: i64,
    answers: Arc<AtomicUsize>,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    for n in 0.. {
        let first = ((run as i64 * WRITERS + writer) * 10_000 + n) * ROWS;
        let rows = first..first + ROWS;
        let table = table(run);
        let write = match n % 3 {
            0 => Write::insert(&table, rows),
            1 => Write::upsert(&table, rows),
            _ => Write::import(&table, rows),
        };
        let write = write.with_id(&format!("{run}/{writer}/{n}"));
        let acknowledged = write.send(&channel).await.is_ok();
        answers.fetch_add(usize::from(acknowledged), Ordering::SeqCst);
        sent.push(Sent {
            write,
            first,
            acknowledged,
        });
        if !acknowledged {
            break;
        }
    }
    sent
}

/// How often each row of these writes is there.
async fn rows(channel: &Channel, run: usize) -> HashMap<i64, usize> {
    let from = run as i64 * WRITERS * 10_000 * ROWS;
    let to = from + WRITERS * 10_000 * ROWS;
    let filter = format!("id >= {from} and id < {to}");
    let ids = until_some(async || found(channel, &table(run), &filter).await).await;
    let mut rows = HashMap::new();
    for id in ids {
        *rows.entry(id).or_default() += 1;
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_is_there_once_after_a_kill() {
    let mut rng = StdRng::seed_from_u64(seed());
    let folder = TempDir::new().unwrap();
    let runs = runs(15);
    let began = Instant::now();
    let mut server = Server::start(folder.path(), 0, &[]).await;
    let (mut acknowledged, mut whole, mut nothing, mut repeats, mut were_done) = (0, 0, 0, 0, 0);
    for run in 0..runs {
        until_some(async || try_create(&server.channel, &table(run), 0..0).await).await;
        let answers = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (channel, answers) = (server.channel.clone(), Arc::clone(&answers));
                tokio::spawn(write_on(channel, run, writer, answers))
            })
            .collect();
        // However slow this machine is: at least one write has its answer.
        until_some(async || (answers.load(Ordering::SeqCst) > 0).then_some(())).await;
        let pause = rng.random_range(0..300);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.process.kill();
        let mut sent = Vec::new();
        for writer in writers {
            sent.extend(writer.await.unwrap());
        }
        server = Server::start(folder.path(), 0, &[]).await;
        let found = rows(&server.channel, run).await;
        for one in &sent {
            let times = |id| found.get(&id).copied().unwrap_or(0);
            let times: Vec<usize> = (one.first..one.first + ROWS).map(times).collect();
            match one.acknowledged {
                true => assert_eq!(times, [1; ROWS as usize], "{run}: lost or doubled: {one:?}"),
                false if times == [0; ROWS as usize] => nothing += 1,
                false => {
                    assert_eq!(times, [1; ROWS as usize], "{run}: a part of {one:?}");
                    whole += 1;
                }
            }
        }
        acknowledged += sent.iter().filter(|one| one.acknowledged).count();
        // Those without an answer once more, and one that had an answer.
        let doubtful = sent.iter().filter(|one| !one.acknowledged);
        let sure = sent.iter().find(|one| one.acknowledged);
        let mut expected = found.clone();
        for one in doubtful.chain(sure) {
            let again = until_some(async || one.write.send(&server.channel).await.ok()).await;
            let was_there = found.contains_key(&one.first);
            assert_eq!(again.repeated, was_there, "{run}: {one:?}");
            assert_eq!(again.counts[0], ROWS as u64);
            expected.extend((one.first..one.first + ROWS).map(|id| (id, 1)));
            repeats += 1;
            were_done += usize::from(again.repeated);
        }
        assert_eq!(rows(&server.channel, run).await, expected, "{run}");
    }
    println!(
        "{runs} kills: {acknowledged} acknowledged writes there once; of the others {whole} whole \
         and {nothing} not at all; {repeats} repeats, {were_done} of writes that were done; {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert!(
        acknowledged > runs / looks(1) as usize,
        "only {acknowledged} writes had an answer"
    );
}

/// Kills a process just before or just after the commit of one write.
async fn killed_at(place: &'static str, write: Write, is_done: bool) {
    let folder = TempDir::new().unwrap();
    // The table is there before.
    let server = Server::start(folder.path(), 0, &[]).await;
    until_some(async || try_create(&server.channel, "t", 0..5).await).await;
    server.process.kill();
    let broken = Server::start(folder.path(), 0, &[("LANCEGATE_FAILPOINT", place)]).await;
    let mut process = broken.process;
    // It may not be ready at first.
    until_some(async || {
        let _ = write.send(&broken.channel).await;
        process.has_ended().then_some(())
    })
    .await;
    let server = Server::start(folder.path(), 0, &[]).await;
    let answer = until_some(async || write.send(&server.channel).await.ok()).await;
    assert_eq!(answer.repeated, is_done, "{place}: {write:?}");
    assert_eq!(answer.counts.iter().sum::<u64>(), 2, "{place}: {write:?}");
    assert_eq!(answer.version, 2, "{place}: {write:?}");
    let again = write.send(&server.channel).await.unwrap();
    assert!(again.repeated && again.counts == answer.counts, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_recorded_with_its_commit() {
    let writes = [
        Write::insert("t", 5..7),
        Write::upsert("t", 4..6),
        Write::add_to_ids("t", "id < 2", 10),
        Write::delete("t", "id < 2"),
        Write::import("t", 5..7),
    ];
    let places = [("write:staged", false), ("write:committed", true)];
    let all = writes.iter().flat_map(|write| {
        places.map(|(place, is_done)| {
            let write = write.clone().with_id("the one");
            killed_at(place, write, is_done)
        })
    });
    futures::stream::iter(all)
        .buffer_unordered(2)
        .collect::<Vec<()>>()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_looked_up_or_said() {
    let folder = TempDir::new().unwrap();
    let write = Write::insert("t", 5..7).with_id("the one");
    // The commit is there, and its answer was lost: the server looks.
    let env = [("LANCEGATE_FAILPOINT", "write:doubtful")];
    let server = Server::start(folder.path(), 0, &env).await;
    until_some(async || try_create(&server.channel, "t", 0..5).await).await;
    let answer = write.send(&server.channel).await.unwrap();
    assert!(!answer.repeated && answer.version == 2, "{answer:?}");
    assert!(write.send(&server.channel).await.unwrap().repeated);
    server.process.kill();
    // It is not there, and may come yet.
    let env = [("LANCEGATE_FAILPOINT", "write:lost")];
    let server = Server::start(folder.path(), 0, &env).await;
    let other = Write::insert("t", 7..9).with_id("another");
    let unknown = until_some(async || {
        let refused = other.send(&server.channel).await.unwrap_err();
        (refused.code() != tonic::Code::Unavailable).then_some(refused)
    })
    .await;
    assert_eq!(unknown.code(), tonic::Code::Unknown, "{unknown:?}");
    assert_eq!(reason(&unknown), "OUTCOME_UNKNOWN");
    assert!(unknown.message().contains("same request_id"), "{unknown:?}");
    assert!(write.send(&server.channel).await.unwrap().repeated);
}

/// What the other tests are for: without the look, and with a record that is not
/// part of the commit, a repeat is done twice.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_on_purpose_is_done_twice() {
    for broken in ["once:no-lookup", "once:recorded-after"] {
        let folder = TempDir::new().unwrap();
        let env = [("LANCEGATE_FAILPOINT", broken)];
        let mut server = Server::start(folder.path(), 0, &env).await;
        until_some(async || try_create(&server.channel, "t", 0..1).await).await;
        let write = Write::insert("t", 1..3).with_id("the one");
        assert!(!write.send(&server.channel).await.unwrap().repeated);
        if broken == "once:recorded-after" {
            // What only this process knows is gone with it.
            assert!(write.send(&server.channel).await.unwrap().repeated);
            server.process.kill();
            server = Server::start(folder.path(), 0, &env).await;
        }
        let again = until_some(async || write.send(&server.channel).await.ok()).await;
        assert!(!again.repeated, "{broken}");
        let rows = until_some(async || found(&server.channel, "t", "true").await).await;
        assert_eq!(rows, [0, 1, 1, 2, 2], "{broken}");
    }
}
