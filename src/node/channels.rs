//! The HTTP/2 connections to one node. One is enough until it carries many calls:
//! a peer allows only so many streams on one, and what is lost on the way of one
//! stream holds up all others of its connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{Request, Response, uri::Scheme};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};
use tonic::body::Body;

use crate::{
    config::{NodeAddress, NodeSettings},
    transport::Named,
};

/// Calls on the least busy connection from which on another one is opened.
const BUSY: usize = 32;

/// What HTTP/2 flow control lets a node send before it is read: as much as one
/// chunk of a streamed answer on one stream, and several of those on a connection.
const WINDOW: u32 = 2 << 20;

/// How often a call is given to another connection because the first was closed
/// before the call was written to it.
const UNSENT: usize = 3;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no connection, and none could be made. Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// The connection ended; the node may or may not have seen the call.
    #[error("the connection was lost: {0}")]
    Lost(#[from] hyper::Error),
}

/// The connections to one address.
pub(super) struct Channels {
    address: NodeAddress,
    /// `None`: plaintext.
    tls: Option<Named>,
    settings: NodeSettings,
    slots: Box<[Slot]>,
}

/// Room for one connection.
#[derive(Default)]
struct Slot {
    live: ArcSwapOption<Live>,
    /// Held by whoever opens it.
    opening: Arc<Mutex<()>>,
}

struct Live {
    sender: SendRequest<Body>,
    running: Arc<AtomicUsize>,
}

impl Live {
    fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

/// One call on a connection, until it is dropped.
#[derive(Debug)]
pub struct OnChannel(Arc<AtomicUsize>);

impl OnChannel {
    fn on(live: &Live) -> Self {
        live.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&live.running))
    }
}

impl Drop for OnChannel {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Channels {
    /// None is open yet.
    pub(super) fn new(address: NodeAddress, tls: Option<Named>, settings: NodeSettings) -> Self {
        let slots = (0..settings.channels_per_node.max(1)).map(|_| Slot::default());
        Self {
            address,
            tls,
            settings,
            slots: slots.collect(),
        }
    }

    /// Where they lead.
    pub(super) fn address(&self) -> &NodeAddress {
        &self.address
    }

    /// What requests say of the way they take.
    pub(super) fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }

    /// Sends a call and waits for the head of its answer. Dropping the future, or
    /// the body of the answer, cancels the call.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, OnChannel), SendError> {
        let mut tries = 0;
        loop {
            let live = self.live().await?;
            let call = OnChannel::on(&live);
            let mut sender = live.sender.clone();
            // Not by way of the live one: it is for the next call to look at.
            drop(live);
            let mut lost = match sender.try_send_request(request).await {
                Ok(answer) => return Ok((answer, call)),
                Err(lost) => lost,
            };
            tries += 1;
            match lost.take_message() {
                // It was never sent: closed while it was idle, or going away.
                Some(unsent) if tries < UNSENT => request = unsent,
                _ => return Err(lost.into_error().into()),
            }
        }
    }

    /// An open connection: the least busy one, or a new one where there is none.
    async fn live(self: &Arc<Self>) -> Result<Arc<Live>, SendError> {
        let (found, empty) = self.least_busy();
        let Some(live) = found else {
            let slot = &self.slots[0];
            let guard = Arc::clone(&slot.opening).lock_owned().await;
            // Another call may have opened it meanwhile.
            return match self.least_busy().0 {
                Some(live) => Ok(live),
                None => self.open(0, guard).await,
            };
        };
        if live.running() >= BUSY
            && let Some(index) = empty
            && let Ok(guard) = Arc::clone(&self.slots[index].opening).try_lock_owned()
        {
            let channels = Arc::clone(self);
            // Bounded by the connect timeout. A failure is seen by the next call.
            tokio::spawn(async move { channels.open(index, guard).await.map(drop) });
        }
        Ok(live)
    }

    /// The open connection with the fewest calls, and a slot without an open one.
    fn least_busy(&self) -> (Option<Arc<Live>>, Option<usize>) {
        let (mut best, mut empty) = (None::<Arc<Live>>, None);
        for (index, slot) in self.slots.iter().enumerate() {
            match slot.live.load_full().filter(|live| live.is_open()) {
                Some(live) => {
                    if best.as_ref().is_none_or(|b| live.running() < b.running()) {
                        best = Some(live);
                    }
                }
                None => empty = empty.or(Some(index)),
            }
        }
        (best, empty)
    }

    async fn open(
        &self,
        index: usize,
        _guard: OwnedMutexGuard<()>,
    ) -> Result<Arc<Live>, SendError> {
        let within = self.settings.connect_timeout;
        let connecting = timeout(within, self.connect()).await;
        let sender = connecting.unwrap_or_else(|_| Err(timed_out(within)))?;
        let live = Arc::new(Live {
            sender,
            running: Arc::default(),
        });
        self.slots[index].live.store(Some(Arc::clone(&live)));
        Ok(live)
    }

    async fn connect(&self) -> Result<SendRequest<Body>, SendError> {
        let NodeAddress { host, port } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(SendError::Connect)?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        match &self.tls {
            None => self.speak(stream).await,
            Some(tls) => {
                let stream = tls.connect(stream).await;
                self.speak(stream.map_err(SendError::Connect)?).await
            }
        }
    }

    async fn speak<S>(&self, stream: S) -> Result<SendRequest<Body>, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .keep_alive_interval(self.settings.keepalive_interval)
            .keep_alive_timeout(self.settings.keepalive_timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await?;
        let address = self.address.clone();
        // Ends when the last sender is dropped and the last call is over.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "a connection to a node ended");
            }
        });
        Ok(sender)
    }
}

fn timed_out(within: Duration) -> SendError {
    SendError::Connect(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("not within {within:?}"),
    ))
}

#[cfg(test)]
mod tests;
