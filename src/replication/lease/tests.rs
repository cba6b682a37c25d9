//! Who copies, and for how long.

use super::*;
use crate::storage::tests::local;

const TTL: Duration = Duration::from_secs(10);

fn lease(holder: &'static str) -> Lease {
    Lease {
        holder: Bytes::from_static(holder.as_bytes()),
        ttl: TTL,
        mine: None,
        seen: None,
    }
}

/// Time is passed in: nothing sleeps.
#[tokio::test]
async fn one_holds_it_until_it_is_silent_for_the_time_to_live() {
    let (_folder, store) = local().await;
    let objects = store.objects();
    let (mut a, mut b) = (lease("a"), lease("b"));
    let begin = Instant::now();
    assert_eq!(a.step(objects, begin).await.unwrap(), Some(begin + TTL));
    for third in 1..10 {
        let now = begin + TTL * third / 3;
        assert!(a.step(objects, now).await.unwrap().is_some(), "{third}");
        assert_eq!(b.step(objects, now).await.unwrap(), None, "{third}");
    }
    // One object, however often it was renewed.
    assert_eq!(numbers(objects).await.unwrap().len(), 1);
    // `a` is silent from now on.
    let silent = begin + TTL * 3;
    assert_eq!(b.step(objects, silent + TTL / 2).await.unwrap(), None);
    let later = silent + TTL;
    assert_eq!(b.step(objects, later).await.unwrap(), Some(later + TTL));
    // It comes back, and sees that it lost it.
    assert_eq!(a.step(objects, later).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_released_is_taken_at_once() {
    let (_folder, store) = local().await;
    let objects = store.objects();
    let (mut a, mut b) = (lease("a"), lease("b"));
    let now = Instant::now();
    assert!(a.step(objects, now).await.unwrap().is_some());
    assert!(b.step(objects, now).await.unwrap().is_none());
    a.release(objects).await.unwrap();
    assert!(b.step(objects, now).await.unwrap().is_some());
}

/// The number was added, and the answer lost on its way.
#[tokio::test]
async fn a_number_whose_answer_was_lost_is_still_ours() {
    let (_folder, store) = local().await;
    let objects = store.objects();
    let (mut a, mut b) = (lease("a"), lease("b"));
    let now = Instant::now();
    assert!(a.step(objects, now).await.unwrap().is_some());
    assert!(
        objects
            .put_if_absent(&path(2), a.holder.clone())
            .await
            .unwrap()
    );
    assert_eq!(b.step(objects, now).await.unwrap(), None);
    assert!(a.step(objects, now).await.unwrap().is_some());
    // Repeated by the store's client, which saw its own object there.
    assert_eq!(a.add(objects, 3).await.unwrap(), Some(3));
}

#[tokio::test]
async fn a_number_below_the_newest_wins_nothing() {
    let (_folder, store) = local().await;
    let objects = store.objects();
    let (mut a, b) = (lease("a"), lease("b"));
    let now = Instant::now();
    for _ in 0..3 {
        assert!(a.step(objects, now).await.unwrap().is_some());
    }
    // `b` looked when the newest was 1, which is deleted by now.
    assert_eq!(b.add(objects, 2).await.unwrap(), None);
    assert_eq!(numbers(objects).await.unwrap(), [3]);
}
