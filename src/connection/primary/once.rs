//! Writes that are done once, however often they are asked for.
//!
//! The lane of a table knows the request ids that its versions record. It looks
//! there before a write is staged, so that a repeat costs nothing; whether another
//! process was faster is found out with the commit itself (`storage::stage`).

use std::{
    future::ready,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Primary, requests::Requests};
use crate::{
    config::failpoint,
    connection::Caller,
    domain::{
        Done, Error, Incarnation, RequestId, Result, TableName, WriteRequest, request::Recorded,
    },
    storage::{Attempt, Handle, Staged, Store},
};

/// How often a write is staged again because others changed the same rows: as
/// often as Lance does it with its own.
const MAX_ATTEMPTS: usize = 10;

/// By how much the clocks of those who commit may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

impl Primary {
    /// Does a write in its table's lane, unless a write with its id was done before:
    /// then the answer is that one's. Once it has its lane it goes on when the caller
    /// goes away; before, it is given up, and a repeat of it that still waits is not.
    /// Answers the incarnation too that was written.
    ///
    /// # Errors
    /// [`Error::RequestIdReused`] for an id of another request,
    /// [`Error::OutcomeUnknown`] where nobody can tell whether it was committed, and
    /// those of `stage`.
    pub async fn write_once<F, Fut>(
        self: &Arc<Self>,
        name: &TableName,
        request: WriteRequest,
        stage: F,
    ) -> Result<(Done, Incarnation)>
    where
        F: Fn(Arc<Store>, Handle) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Staged>> + Send,
    {
        let caller = Caller::current();
        let mut requests = caller.begin(self.lane_of(name)).await?;
        let (primary, name) = (Arc::clone(self), name.clone());
        let work = async move { primary.once(&name, &mut requests, &request, stage).await };
        caller.finish(work).await
    }

    /// The same for a write that is staged outside of the lane, because its client
    /// sets the pace, and whose request is known only then.
    pub async fn write_once_after<F, Fut>(
        self: &Arc<Self>,
        name: &TableName,
        stage: F,
    ) -> Result<(Done, Incarnation)>
    where
        F: FnOnce(Arc<Store>, Handle) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(WriteRequest, Staged)>> + Send,
    {
        let caller = Caller::current();
        let (head, store) = (self.head(name).await?, self.connection.store()?);
        let staging = async move { stage(store, head.handle().clone()).await };
        let (request, staged) = caller.finish(staging).await?;
        self.write_once(name, request, move |_, _| ready(Ok(staged.clone())))
            .await
    }

    /// What is recorded under a request id, and of which incarnation.
    pub async fn recorded(
        &self,
        name: &TableName,
        id: &RequestId,
    ) -> Result<Option<(Recorded, Incarnation)>> {
        self.head(name).await?;
        let store = self.connection.store()?;
        let mut requests = self.lane(name).await;
        self.look_alone(&store, name).await?;
        let handle = self.catch_up(name, &mut requests).await?;
        Ok(requests.get(id).map(|done| (done, handle.incarnation())))
    }

    async fn once<F, Fut>(
        &self,
        name: &TableName,
        requests: &mut Requests,
        request: &WriteRequest,
        stage: F,
    ) -> Result<(Done, Incarnation)>
    where
        F: Fn(Arc<Store>, Handle) -> Fut,
        Fut: Future<Output = Result<Staged>>,
    {
        let store = self.connection.store()?;
        // For what others committed, and for a table that they created anew.
        self.look_alone(&store, name).await?;
        let outcome = self
            .once_alone(&store, name, requests, request, stage)
            .await;
        let head = self.head(name).await?;
        let served = self.serve(head.handle()).await;
        let done = outcome?;
        served?;
        Ok(done)
    }

    async fn once_alone<F, Fut>(
        &self,
        store: &Arc<Store>,
        name: &TableName,
        requests: &mut Requests,
        request: &WriteRequest,
        stage: F,
    ) -> Result<(Done, Incarnation)>
    where
        F: Fn(Arc<Store>, Handle) -> Fut,
        Fut: Future<Output = Result<Staged>>,
    {
        for _ in 0..MAX_ATTEMPTS {
            let handle = self.catch_up(name, requests).await?;
            let here = |done: Done| (done, handle.incarnation());
            if let Some(recorded) = requests.get(&request.id)
                && !failpoint::breaks("once:no-lookup")
            {
                return recorded.answer(request).map(here);
            }
            let staged = stage(Arc::clone(store), handle.clone()).await?;
            let committed = handle.commit_once(store, staged, request, requests.seen());
            match committed.await {
                Ok(Attempt::Done(recorded)) => {
                    // Commits of others may lie between: they are looked at the next time.
                    requests.add((request.id.key(), recorded), self.writes);
                    return Ok(here(recorded.done(false)));
                }
                Ok(Attempt::Found(recorded)) => {
                    handle.refresh().await?;
                    return recorded.answer(request).map(here);
                }
                Ok(Attempt::Conflict) => handle.refresh().await?,
                // It may be there all the same.
                Err(error @ (Error::OutcomeUnknown | Error::Unavailable { .. })) => {
                    return match self.landed(name, &handle, requests, request).await {
                        Some(recorded) => Ok(here(recorded.done(false))),
                        None => Err(error),
                    };
                }
                Err(error) => return Err(error),
            }
        }
        let text = "others changed the same rows each time";
        Err(Error::Conflict(text.into()))
    }

    /// What a commit made whose answer was an error. `None` where it cannot be
    /// found: it may still be under way.
    async fn landed(
        &self,
        name: &TableName,
        handle: &Handle,
        requests: &mut Requests,
        request: &WriteRequest,
    ) -> Option<Recorded> {
        handle.refresh().await.ok()?;
        self.catch_up(name, requests).await.ok()?;
        let recorded = requests.get(&request.id);
        recorded.filter(|recorded| recorded.answer(request).is_ok())
    }

    /// Learns the request ids of the versions that were not looked at yet. Answers
    /// the table's head.
    async fn catch_up(&self, name: &TableName, requests: &mut Requests) -> Result<Handle> {
        let head = self.head(name).await?;
        let handle = head.handle().clone();
        let newest = handle.version().await?;
        requests.begin(handle.incarnation(), newest);
        let seen = requests.seen();
        if newest > seen {
            let since = self.remembered_since(SystemTime::now());
            let most = self.writes.max_request_ids;
            let entries = handle.recorded(seen, newest, since, most).await?;
            for entry in entries {
                requests.add(entry, self.writes);
            }
            requests.saw(newest);
        }
        Ok(handle)
    }

    /// The time from which on request ids are remembered: those of commits before
    /// it may be forgotten.
    pub(super) fn remembered_since(&self, now: SystemTime) -> SystemTime {
        let age = self.writes.request_id_ttl.saturating_add(CLOCKS_DIFFER);
        now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
