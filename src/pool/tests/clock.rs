//! A clock that jumps: where all futures wait, it is the time of the next one that is
//! due. tokio's paused clock would do the same, and needs a feature of tokio for which
//! everything below LanceDB would be compiled anew.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::time::Instant;

use crate::pool::clock::real;

thread_local! {
    static JUMPING: RefCell<Option<Jumping>> = const { RefCell::new(None) };
}

struct Jumping {
    now: Instant,
    /// Who waits, by when and in which order they began to.
    waiting: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

fn with<T>(act: impl FnOnce(&mut Jumping) -> T) -> Option<T> {
    JUMPING.with_borrow_mut(|clock| clock.as_mut().map(act))
}

/// The time: of the clock that jumps, inside of [`run`].
pub fn now() -> Instant {
    with(|clock| clock.now).unwrap_or_else(real::now)
}

/// Waits for a time.
pub async fn sleep_until(at: Instant) {
    match with(|clock| {
        clock.next += 1;
        clock.next
    }) {
        Some(number) => Sleep { key: (at, number) }.await,
        None => real::sleep_until(at).await,
    }
}

/// Waits for so long.
pub async fn sleep(time: Duration) {
    sleep_until(now() + time).await;
}

struct Sleep {
    key: (Instant, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let due = with(|clock| {
            let due = clock.now >= self.key.0;
            if !due {
                clock.waiting.insert(self.key, cx.waker().clone());
            }
            due
        });
        match due {
            Some(false) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        with(|clock| clock.waiting.remove(&self.key));
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a future on a clock that jumps.
pub fn run<F: Future>(future: F) -> F::Output {
    let clock = Jumping {
        now: real::now(),
        waiting: BTreeMap::new(),
        next: 0,
    };
    JUMPING.set(Some(clock));
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&flag));
    let output = {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                break output;
            }
            if flag.0.swap(false, Ordering::Relaxed) {
                continue;
            }
            let next = with(|clock| {
                let ((at, _), waker) = clock.waiting.pop_first()?;
                clock.now = clock.now.max(at);
                Some(waker)
            });
            let next = next.flatten().expect("somebody waits for a time");
            next.wake();
        }
    };
    JUMPING.set(None);
    output
}

#[test]
fn hours_pass_at_once_and_in_order() {
    let real = std::time::Instant::now();
    let order = RefCell::new(Vec::new());
    run(async {
        let began = now();
        let after = |hours: u64| {
            let order = &order;
            async move {
                sleep(Duration::from_secs(3_600 * hours)).await;
                order.borrow_mut().push(hours);
            }
        };
        tokio::join!(after(3), after(1), after(2));
        assert_eq!(now() - began, Duration::from_secs(3 * 3_600));
    });
    assert_eq!(order.into_inner(), [1, 2, 3]);
    assert!(real.elapsed() < Duration::from_secs(600));
}
