//! Which of the processes on one primary copies: an agreement by objects in the
//! primary's location, each created only if it is not there.
//!
//! The newest of `_lancegate/copier-lease/<number>` names the holder, who adds the
//! next number every third of the time to live and deletes the ones before. Others
//! watch: a newest number that did not change for a whole time to live, by their
//! own monotonic clock, is a holder that is gone, and whoever adds the next number
//! is the new one. No clocks are compared, and nothing is ever updated in place,
//! which local folders and some object stores cannot do.
//!
//! Copying is right without it: two holders for a moment cost bytes, not truth.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Primary,
    domain::view::ConnectionState,
    storage::{ObjectError, Objects},
};

const FOLDER: &str = "_lancegate/copier-lease";

/// What a holder that stops writes instead of its name.
const RELEASED: &[u8] = b"released";

/// How often the lease is renewed or looked at, in times to live.
const LOOKS_PER_TTL: u32 = 3;

/// Whether it is this process's turn to copy.
#[derive(Clone)]
pub(super) enum Turn {
    /// There is no lease: everybody copies.
    Always,
    /// Until the time in there, if any.
    Leased(watch::Receiver<Option<Held>>),
}

/// A lease that this process has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    /// When it was got; renewing it changes nothing.
    since: Instant,
    until: Instant,
}

impl Turn {
    pub(super) fn is_ours(&self) -> bool {
        match self {
            Turn::Always => true,
            Turn::Leased(held) => held.borrow().is_some_and(Held::is_valid),
        }
    }

    /// Since when it has been this process's turn without a break, if there is a
    /// lease.
    pub(super) fn since(&self) -> Option<Instant> {
        match self {
            Turn::Always => None,
            Turn::Leased(held) => held.borrow().map(|held| held.since),
        }
    }

    /// Waits until the lease was got, renewed or lost.
    pub(super) async fn changed(&mut self) {
        let alive = match self {
            Turn::Always => false,
            Turn::Leased(held) => held.changed().await.is_ok(),
        };
        if !alive {
            std::future::pending::<()>().await;
        }
    }
}

impl Held {
    fn is_valid(self) -> bool {
        Instant::now() < self.until
    }
}

/// What this process knows of the lease.
struct Lease {
    holder: Bytes,
    ttl: Duration,
    /// The number that this process added last and that still was the newest.
    mine: Option<u64>,
    /// The newest number of others, and since when it is that.
    seen: Option<(u64, Instant)>,
}

/// Holds or watches the lease until `stop`.
pub(super) async fn keep(
    primary: Arc<Primary>,
    ttl: Duration,
    turn: watch::Sender<Option<Held>>,
    stop: CancellationToken,
) {
    let mut lease = Lease {
        holder: Bytes::from(uuid::Uuid::new_v4().to_string()),
        ttl,
        mine: None,
        seen: None,
    };
    let mut fit = false;
    loop {
        let up = primary.connection().state() == ConnectionState::Up;
        if up && !fit {
            // A primary whose versions DynamoDB commits may be where the lease's
            // objects can be overwritten.
            match primary.connection().must_know_conditions().await {
                Ok(()) => fit = true,
                Err(error) => tracing::error!(%error, "nobody can have the copier's lease there"),
            }
        }
        if up
            && fit
            && let Ok(store) = primary.connection().store()
        {
            match lease.step(store.objects(), Instant::now()).await {
                Ok(until) => note(&turn, until),
                // What was held is held until its time is over.
                Err(error) => tracing::warn!(%error, "the copier's lease could not be looked at"),
            }
        }
        // Before the primary is up there is nothing to hold: looked at soon.
        let pause = if up {
            ttl / LOOKS_PER_TTL
        } else {
            Duration::from_millis(100)
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => break,
        }
    }
    if let Ok(store) = primary.connection().store()
        && let Err(error) = lease.release(store.objects()).await
    {
        tracing::debug!(%error, "the copier's lease was left to end by itself");
    }
}

fn note(turn: &watch::Sender<Option<Held>>, until: Option<Instant>) {
    let before = *turn.borrow();
    let held = before.is_some();
    match (held, until.is_some()) {
        (false, true) => tracing::info!("this process copies now"),
        (true, false) => tracing::info!("another process copies now"),
        _ => {}
    }
    if held || until.is_some() {
        // One that ran out may have been another's in between.
        let since = before.filter(|held| held.is_valid()).map(|held| held.since);
        turn.send_replace(until.map(|until| Held {
            since: since.unwrap_or_else(Instant::now),
            until,
        }));
    }
}

impl Lease {
    /// Renews, watches or takes over. Answers until when this process holds it.
    async fn step(
        &mut self,
        objects: &Objects,
        now: Instant,
    ) -> Result<Option<Instant>, ObjectError> {
        let newest = numbers(objects).await?.last().copied();
        let ours = match (newest, self.mine) {
            (Some(newest), Some(mine)) if newest == mine => true,
            // Added by this process, which never heard that it was.
            (Some(newest), Some(mine)) if newest == mine + 1 => {
                self.is_ours(objects, newest).await?
            }
            _ => false,
        };
        let free = match (newest, self.seen) {
            (None, _) => true,
            _ if ours => true,
            (Some(newest), Some((seen, since))) if newest == seen => {
                now.duration_since(since) >= self.ttl || is_released(objects, newest).await?
            }
            (Some(newest), _) => {
                self.seen = Some((newest, now));
                is_released(objects, newest).await?
            }
        };
        self.mine = match free {
            true => self.add(objects, newest.unwrap_or(0) + 1).await?,
            false => None,
        };
        Ok(self.mine.map(|_| now + self.ttl))
    }

    /// Adds a number. Answers it if it is the newest one then: somebody who looked
    /// long ago may add a number whose successors are there already.
    async fn add(&self, objects: &Objects, number: u64) -> Result<Option<u64>, ObjectError> {
        let added = objects
            .put_if_absent(&path(number), self.holder.clone())
            .await?;
        if !added && !self.is_ours(objects, number).await? {
            return Ok(None);
        }
        let numbers = numbers(objects).await?;
        if numbers.last() != Some(&number) {
            objects.delete(&path(number)).await?;
            return Ok(None);
        }
        for older in numbers.into_iter().filter(|n| *n < number) {
            objects.delete(&path(older)).await?;
        }
        Ok(Some(number))
    }

    /// Whether it was this process that added a number.
    async fn is_ours(&self, objects: &Objects, number: u64) -> Result<bool, ObjectError> {
        match objects.get(&path(number)).await {
            Ok(bytes) => Ok(bytes == self.holder),
            Err(ObjectError::NotFound(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Says that this process copies no more, so that nobody has to wait.
    async fn release(&self, objects: &Objects) -> Result<(), ObjectError> {
        let Some(mine) = self.mine else { return Ok(()) };
        let released = Bytes::from_static(RELEASED);
        objects.put_if_absent(&path(mine + 1), released).await?;
        objects.delete(&path(mine)).await
    }
}

fn path(number: u64) -> String {
    format!("{FOLDER}/{number:020}")
}

/// The numbers that are there, ascending.
async fn numbers(objects: &Objects) -> Result<Vec<u64>, ObjectError> {
    let found = objects.list(FOLDER).await?;
    let mut numbers: Vec<u64> = found
        .keys()
        .filter_map(|path| path.rsplit('/').next()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

async fn is_released(objects: &Objects, number: u64) -> Result<bool, ObjectError> {
    match objects.get(&path(number)).await {
        Ok(bytes) => Ok(bytes == RELEASED),
        Err(ObjectError::NotFound(_)) => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests;
