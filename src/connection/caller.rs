//! Who waits for a change: what has not begun is given up with them, and what has is
//! finished without them. Whatever was set aside for it is held until it has ended.

use std::{any::Any, sync::Arc, time::Duration};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    config::failpoint,
    domain::{Error, Result},
};

tokio::task_local! {
    static CALLER: Caller;
}

/// Who waits for what is done within [`Caller::scope`]. The default is somebody who
/// never goes away, and for whom nothing was set aside.
#[derive(Clone, Default)]
pub struct Caller {
    gone: CancellationToken,
    held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Caller {
    /// Somebody who is gone once `gone` is cancelled. `held` is dropped when the last
    /// piece of their work has ended.
    pub fn new(gone: CancellationToken, held: impl Any + Send + Sync) -> Self {
        Self {
            gone,
            held: Some(Arc::new(held)),
        }
    }

    /// Does `work` for this caller.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CALLER.scope(self, work).await
    }

    /// Who waits for what is done here.
    pub fn current() -> Self {
        CALLER.try_with(Clone::clone).unwrap_or_default()
    }

    /// Ends when the caller is gone.
    pub fn gone(&self) -> WaitForCancellationFutureOwned {
        self.gone.clone().cancelled_owned()
    }

    /// Waits for what has to be there before anything begins, for as long as the caller
    /// does. Tasks that wait for a lane with their rows would otherwise be as many as
    /// somebody sends who never waits for an answer.
    ///
    /// # Errors
    /// The caller went away first, and those of `begin`.
    pub async fn begin<T>(&self, begin: impl Future<Output = Result<T>>) -> Result<T> {
        if failpoint::breaks("write:waits-on") {
            return begin.await;
        }
        tokio::select! {
            biased;
            () = self.gone.cancelled() => Err(Error::Unavailable {
                reason: "CLIENT_GONE",
                message: "the client went away before anything was begun; nothing was done".into(),
                retry_after: Duration::ZERO,
            }),
            begun = begin => begun,
        }
    }

    /// Does what has begun to its end, also when the caller goes away: a commit is not
    /// cut in the middle.
    ///
    /// # Errors
    /// Those of `work`, and [`Error::Internal`] where it panics.
    pub async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let held = self.held.clone();
        let task = tokio::spawn(async move {
            // Until the work has been dropped, with its rows.
            let _held = held;
            work.await
        });
        // It is never aborted, so it fails only by a panic.
        task.await
            .unwrap_or_else(|e| Err(Error::Internal(format!("a write stopped half-way: {e}"))))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Weak};

    use tokio::sync::oneshot;

    use super::*;

    fn caller() -> (Caller, CancellationToken, Weak<()>) {
        let (gone, held) = (CancellationToken::new(), Arc::new(()));
        let weak = Arc::downgrade(&held);
        (Caller::new(gone.clone(), held), gone, weak)
    }

    #[tokio::test]
    async fn what_has_not_begun_is_given_up_with_its_caller() {
        let (caller, gone, held) = caller();
        let wait = caller.scope(async { Caller::current().begin(pending::<Result<()>>()).await });
        let mut wait = std::pin::pin!(wait);
        assert!(futures::poll!(wait.as_mut()).is_pending());
        gone.cancel();
        let given_up = wait.await.unwrap_err();
        assert!(matches!(
            given_up,
            Error::Unavailable {
                reason: "CLIENT_GONE",
                ..
            }
        ));
        // Also where nothing would have to be waited for.
        let (caller, gone, _) = self::caller();
        gone.cancel();
        assert!(caller.begin(async { Ok(()) }).await.is_err());
        assert_eq!(held.strong_count(), 0);
    }

    #[tokio::test]
    async fn what_has_begun_is_finished_and_holds_its_place_until_then() {
        let (caller, gone, held) = caller();
        let (go, wait) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let mut work = Box::pin(caller.scope(async move {
            let work = async move {
                wait.await.unwrap();
                tell.send(()).unwrap();
                Ok(())
            };
            Caller::current().finish(work).await
        }));
        assert!(futures::poll!(work.as_mut()).is_pending());
        gone.cancel();
        drop(work);
        tokio::task::yield_now().await;
        assert_eq!(held.strong_count(), 1);
        go.send(()).unwrap();
        told.await.unwrap();
        while held.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn where_nobody_is_known_nobody_goes_away() {
        let caller = Caller::current();
        assert_eq!(caller.begin(async { Ok(1) }).await, Ok(1));
        assert_eq!(caller.finish(async { Ok(2) }).await, Ok(2));
        let panicked = caller.finish(async { panic!("ordered") });
        assert!(matches!(panicked.await, Err::<(), _>(Error::Internal(_))));
    }
}
