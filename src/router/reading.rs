//! One read, from where it goes first to where it is answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ReadRequest, Router,
    choose::{Decision, choose_again, choose_beside},
    fresh::Chosen,
    missing::unless_gone,
};
use crate::{
    config::failpoint,
    domain::{
        Error, Need, Position, Result, TableName,
        view::{Detour, Served},
    },
    pool::{Ask, Course, Member, Outcome, Verdict, walk},
    storage::Snapshot,
    telemetry::metrics,
};

/// What another attempt must be like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Again {
    /// As fresh as this.
    Fresh(Need),
    /// Of exactly this version and, where that was said, of this table.
    Exact(u64, Option<Position>),
    /// There is nobody else.
    Never,
}

/// A read, and what its attempts have in common.
pub(super) struct Reading<'a, F> {
    pub router: &'a Router,
    pub table: &'a TableName,
    pub ask: Ask,
    pub again: Again,
    pub read: F,
}

impl<'a, F> Reading<'a, F> {
    /// Reads where it was chosen to, and elsewhere if that fails.
    pub(super) async fn go<T, Fut>(
        self,
        first: Chosen<'a>,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<(T, Served)>
    where
        T: Send,
        F: Fn(Arc<Snapshot>) -> Fut + Sync,
        Fut: Future<Output = Result<T>> + Send,
    {
        let walked = walk(self.router.pool(), &self, first, deadline).await;
        let Chosen {
            mut route,
            connection,
            snapshot,
            ..
        } = walked.place;
        let answer = walked.outcome?;
        connection.count_read();
        route.detour = Detour {
            other_zone: route.detour.other_zone,
            ..walked.detour
        };
        let position = snapshot.position();
        Ok((answer, self.router.served(route, self.table, &position)))
    }

    fn request(&self, need: Need) -> ReadRequest<'a> {
        ReadRequest {
            table: self.table,
            ask: self.ask,
            need,
        }
    }

    /// Whether an error is of the place: another one may do better. A table that is
    /// missing there is, as long as the primary has it.
    fn is_of_the_place(&self, error: &Error) -> bool {
        let primary = self.router.primary().connection();
        match error {
            Error::Conflict(_) => primary.catalog().position(self.table).is_some(),
            error => error.is_connection_fault(),
        }
    }

    /// Another place that is as fresh as was asked, now.
    fn as_fresh(&self, need: Need, tried: &[usize]) -> Option<Chosen<'a>> {
        let (router, request) = (self.router, self.request(need));
        let view = router.view(self.table, &need);
        let decision = choose_again(request, &view, tried);
        router.taken(request, decision).ok().flatten()
    }
}

/// The connections that were tried.
fn indexes(before: &[Chosen<'_>], last: &Chosen<'_>) -> Vec<usize> {
    let all = before.iter().chain([last]);
    all.map(|chosen| chosen.route.connection).collect()
}

impl<'a, T, F, Fut> Course for Reading<'a, F>
where
    T: Send,
    F: Fn(Arc<Snapshot>) -> Fut + Sync,
    Fut: Future<Output = Result<T>> + Send,
{
    type Place = Chosen<'a>;
    type Answer = T;
    type Error = Error;

    fn member<'b>(&'b self, place: &'b Chosen<'a>) -> Option<&'b Arc<Member>> {
        // The primary is the first one, and not judged.
        let replica = place.route.connection.checked_sub(1)?;
        self.router.members().get(replica)
    }

    async fn run(&self, place: &Chosen<'a>, _: Detour) -> Result<T> {
        let Chosen {
            route,
            connection,
            snapshot,
            ..
        } = place;
        metrics::routed(connection.name(), route.policy.as_str());
        let began = Instant::now();
        let outcome = match failpoint::read(connection.name()).await {
            Ok(()) => (self.read)(Arc::clone(snapshot)).await,
            Err(e) => Err(e),
        };
        metrics::read_finished(connection.name(), outcome.is_ok(), began.elapsed());
        let error = match outcome {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let position = snapshot.position();
        let error = unless_gone(connection, self.table, &position, route.policy, error).await;
        connection.forget_version(self.table, &position).await;
        if self.is_of_the_place(&error) {
            connection.note_error(&error);
        }
        Err(error)
    }

    fn verdict(&self, error: &Error) -> Verdict {
        if !self.is_of_the_place(error) {
            return Verdict::FINAL;
        }
        let is_to_blame = match error {
            // Pruned under it: it is only a little behind.
            Error::Unavailable { reason, .. } => *reason != "VERSION_REMOVED",
            // More often the query's fault than the place's: a client that repeats
            // such a query must not empty the rotation.
            Error::Internal(_) => false,
            _ => true,
        };
        Verdict {
            outcome: match is_to_blame {
                true => Outcome::Fault,
                false => Outcome::Blameless,
            },
            retry: true,
            pushback: Duration::ZERO,
        }
    }

    async fn retry(&self, before: &[Chosen<'a>], last: &Chosen<'a>) -> Option<Chosen<'a>> {
        let tried = indexes(before, last);
        match self.again {
            Again::Fresh(need) => self.as_fresh(need, &tried),
            Again::Exact(version, position) => {
                let found = self.router.exact(self.table, version, self.ask, &tried);
                let found = found.await.ok()?;
                let fits = position.is_none_or(|p| found.snapshot.position() == p);
                fits.then_some(found)
            }
            Again::Never => None,
        }
    }

    fn hedge(&self, before: &[Chosen<'a>], running: &Chosen<'a>) -> Option<Chosen<'a>> {
        let Again::Fresh(need) = self.again else {
            return None;
        };
        let tried = indexes(before, running);
        let position = running.snapshot.position();
        let view = self.router.view(self.table, &need);
        let route = choose_beside(self.request(need), &view, &tried, &position)?;
        let taken = self
            .router
            .taken(self.request(need), Decision::Go(route))
            .ok()??;
        // Swapped since the view was made.
        (taken.snapshot.position() == position).then_some(taken)
    }
}
