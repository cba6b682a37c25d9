//! The audit log: who changed what, a line of JSON each, written by one thread.
//!
//! Whoever has something to log hands a whole line to a bounded queue. One thread
//! writes the lines in their order, each with its end in one go, so that lines of
//! several requests never mix. Where nothing may happen without the log, the place of
//! the line that says how it ended is taken before it begins.

mod destination;
mod floods;
mod line;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use self::line::{Event, Line, Rows};
use self::{destination::Destination, floods::Floods};
use super::metrics;
use crate::config::{Audit, AuditTo};

/// Lines that may wait to be written.
const QUEUED: usize = 8_192;

/// Lines that are written before those who wait are told.
const TOGETHER: usize = 256;

/// For how long a line may take that something waits for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Its files cannot be made.
    #[error("audit.folder: {0}")]
    Folder(String),
    /// The thread that writes it did not start.
    #[error("audit: {0}")]
    Thread(io::Error),
}

/// A line could not be written in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAudited;

/// The audit log. Clones are the same one.
#[derive(Clone)]
pub struct AuditLog(Option<Inner>);

#[derive(Clone)]
struct Inner {
    queue: mpsc::Sender<Order>,
    required: bool,
    /// Of who is not known, and of who is: the first push out nothing of the others.
    floods: Arc<[Floods; 2]>,
}

/// What the thread is to do.
enum Order {
    /// Write a line; tell whether it is written, if somebody waits for that.
    Write(Vec<u8>, Option<Told>),
    /// Tell that all before this is written.
    Flush(oneshot::Sender<()>),
}

type Told = oneshot::Sender<Result<(), NotAudited>>;

/// The place of a line that is still to come.
pub struct Place(mpsc::OwnedPermit<Order>);

impl AuditLog {
    /// There is none.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Opens it, where there is one.
    ///
    /// # Errors
    /// It cannot be written to.
    pub fn open(settings: &Audit) -> Result<Self, AuditError> {
        if settings.to == AuditTo::Nowhere {
            return Ok(Self::nowhere());
        }
        let destination = Destination::open(settings)?;
        let (queue, orders) = mpsc::channel(QUEUED);
        let writer = Writer {
            destination,
            complained: None,
        };
        // Not a task: a disk that hangs must not hold up a worker of the runtime.
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(orders))
            .map_err(AuditError::Thread)?;
        Ok(Self(Some(Inner {
            queue,
            required: settings.required,
            floods: Arc::new([Floods::new(), Floods::new()]),
        })))
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether nothing may happen without it.
    pub fn is_required(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.required)
    }

    /// Writes a line and waits until it is written. Answers the place of the next one
    /// of the same request, which is there then, whatever others write; `None` where
    /// there is no log.
    ///
    /// # Errors
    /// The line could not be written in time.
    pub async fn written(&self, line: &Line<'_>) -> Result<Option<Place>, NotAudited> {
        let Some(inner) = &self.0 else {
            return Ok(None);
        };
        let outcome = timeout(PATIENCE, inner.write(line.to_bytes())).await;
        outcome.unwrap_or(Err(NotAudited)).map(Some)
    }

    /// Hands in a line. Where the queue is full it is lost, which is counted and
    /// logged.
    pub fn note(&self, line: &Line<'_>, place: Option<Place>) {
        let Some(inner) = &self.0 else { return };
        let order = Order::Write(line.to_bytes(), None);
        if let Some(Place(permit)) = place {
            permit.send(order);
            return;
        }
        let lost = match inner.queue.try_send(order) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(_)) => "queue_full",
            Err(mpsc::error::TrySendError::Closed(_)) => "closed",
        };
        metrics::audit_failed(lost, 1);
        complain_seldom(lost);
    }

    /// Hands in a line of somebody who was refused before anything was begun. Of too many
    /// in a second, of one caller or of all (those who are known and the others apart), the
    /// rest is only counted, and the next line tells how many there were.
    pub fn refused(&self, line: Line<'_>) {
        let Some(inner) = &self.0 else { return };
        let admitted = match (line.principal, line.peer) {
            (Some(name), _) => inner.floods[1].admit(name),
            (None, Some(peer)) => inner.floods[0].admit(&peer.ip().to_string()),
            (None, None) => inner.floods[0].admit(""),
        };
        if let Some(left_out) = admitted {
            self.note(&Line { left_out, ..line }, None);
        }
    }

    /// Waits until everything that was handed in is written, or for some seconds.
    pub async fn flush(&self) {
        let Some(inner) = &self.0 else { return };
        let left_out: u64 = inner.floods.iter().map(Floods::rest).sum();
        if left_out > 0 {
            let line = Line::new(Event::Outcome, "refused");
            self.note(&Line { left_out, ..line }, None);
        }
        let (tell, told) = oneshot::channel();
        let flushed = async {
            if inner.queue.send(Order::Flush(tell)).await.is_ok() {
                let _ = told.await;
            }
        };
        if timeout(PATIENCE, flushed).await.is_err() {
            tracing::error!("the audit log was not written to its end");
        }
    }
}

/// At most once a second: a queue that is full is so for many.
fn complain_seldom(reason: &'static str) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs();
    if LAST.swap(now, Ordering::Relaxed) != now {
        tracing::error!(reason, "lines of the audit log are lost");
    }
}

impl Inner {
    async fn write(&self, line: Vec<u8>) -> Result<Place, NotAudited> {
        // First, so that there is nothing to take back.
        let place = self.queue.clone().reserve_owned().await;
        let place = Place(place.map_err(|_| NotAudited)?);
        let (tell, told) = oneshot::channel();
        let order = Order::Write(line, Some(tell));
        self.queue.send(order).await.map_err(|_| NotAudited)?;
        told.await.unwrap_or(Err(NotAudited))?;
        Ok(place)
    }
}

/// What the thread has.
struct Writer {
    destination: Destination,
    /// When it was last told that a line could not be written.
    complained: Option<Instant>,
}

impl Writer {
    /// Until nobody can hand in lines any more.
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut together = Vec::with_capacity(TOGETHER);
        while let Some(order) = orders.blocking_recv() {
            together.push(order);
            while together.len() < TOGETHER
                && let Ok(order) = orders.try_recv()
            {
                together.push(order);
            }
            self.work(&mut together);
        }
    }

    fn work(&mut self, orders: &mut Vec<Order>) {
        let (mut waiting, mut flushed, mut written) = (Vec::new(), Vec::new(), 0);
        for order in orders.drain(..) {
            match order {
                Order::Write(line, tell) => match self.destination.write(&line) {
                    Ok(()) => {
                        written += 1;
                        waiting.extend(tell);
                    }
                    Err(error) => {
                        self.failed(&error, 1);
                        // Whoever does not listen has given up.
                        let _ = tell.map(|tell| tell.send(Err(NotAudited)));
                    }
                },
                Order::Flush(tell) => flushed.push(tell),
            }
        }
        let outcome = match self.destination.finish() {
            Ok(()) => {
                metrics::audited(written);
                Ok(())
            }
            Err(error) => {
                self.failed(&error, written);
                Err(NotAudited)
            }
        };
        for tell in waiting {
            let _ = tell.send(outcome);
        }
        for tell in flushed {
            let _ = tell.send(());
        }
    }

    fn failed(&mut self, error: &io::Error, lines: usize) {
        metrics::audit_failed("write", lines);
        let lately = |at: Instant| at.elapsed() < Duration::from_secs(1);
        if !self.complained.is_some_and(lately) {
            self.complained = Some(Instant::now());
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}

#[cfg(test)]
mod tests;
