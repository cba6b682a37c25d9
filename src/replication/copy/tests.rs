//! Which manifests are published, when several copiers meet.

use super::*;
use crate::{
    config::Verify,
    storage::{Pace, tests::local},
};

/// What a copier does that has read version 1 of creation `copied`, where the
/// primary and the replica are marked as these creations by now. Answers the
/// manifest that the replica has afterwards.
async fn published(
    copied: Incarnation,
    source: Option<Incarnation>,
    target: Option<Incarnation>,
) -> (Result<(), ReplicationError>, Option<Bytes>) {
    let table = TableName::parse("t").unwrap();
    let ((_from, from), (_to, to)) = (local().await, local().await);
    for (store, mark) in [(&from, source), (&to, target)] {
        if let Some(mark) = mark {
            assert_eq!(store.mark(&table, mark).await.unwrap(), mark);
        }
    }
    let (pace, turn) = (Pace::new(0), Turn::Always);
    let dropper = Dropper::new(
        Duration::ZERO,
        tokio_util::task::TaskTracker::new(),
        tokio_util::sync::CancellationToken::new(),
    );
    let route = Route {
        source: from.objects(),
        target: to.objects(),
        replica: "replica-1",
        table: &table,
        incarnation: copied,
        parallel: 1,
        transfer: Transfer {
            pace: &pace,
            verify: Verify::Size,
        },
        dropper: &dropper,
        turn: &turn,
    };
    let files = VersionFiles {
        files: BTreeSet::new(),
        manifest: "_versions/1.manifest".to_owned(),
    };
    let path = route.path(&files.manifest);
    let bytes = Bytes::from_static(b"of whichever creation is there");
    route.source.put(&path, bytes).await.unwrap();
    let outcome = route.publish(1, &files).await;
    (outcome, route.target.get(&path).await.ok())
}

#[tokio::test]
async fn what_both_sides_are_marked_as_is_published() {
    let ours = Incarnation::fresh();
    let (outcome, there) = published(ours, Some(ours), Some(ours)).await;
    outcome.unwrap();
    assert!(there.is_some());
    // One that nobody could mark is told by its commits alone.
    let (outcome, there) = published(Incarnation::UNKNOWN, None, None).await;
    outcome.unwrap();
    assert!(there.is_some());
}

/// The names of the manifests are those of the next creation too: a copier that
/// has not heard of it reads that one's.
#[tokio::test]
async fn nothing_is_published_of_a_table_that_was_created_anew() {
    let (ours, next) = (Incarnation::fresh(), Incarnation::fresh());
    let marks = [
        // The table is another one by now, and its copy is still ours: what was
        // read would be taken for ours.
        (Some(next), Some(ours)),
        (None, Some(ours)),
        // Another copier has replaced the copy, or is about to.
        (Some(ours), Some(next)),
        (Some(ours), None),
    ];
    for (source, target) in marks {
        let (outcome, there) = published(ours, source, target).await;
        assert!(
            matches!(outcome, Err(ReplicationError::SourceGone(_))),
            "{source:?} {target:?}: {outcome:?}"
        );
        assert_eq!(there, None, "{source:?} {target:?}");
    }
}
