//! A port: its connections come in, are looked at, and are served until they end.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::TcpConnectInfo;
use tower::Service;

use super::{
    ServerTls,
    caps::{self, Caps, Place},
    counted::{Counted, Seen, Upload},
    handshakes::Handshakes,
    identity,
    linger::Lingering,
    untrusted,
};
use crate::{
    admission::Client,
    config::{Live, Sockets},
    domain::PeerCertificate,
    telemetry::{audit::AuditLog, metrics},
};

/// How often an idle connection is asked whether it is still there, so that
/// clients that vanished do not hold sockets.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// For the answer to that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What HTTP/2 flow control lets a client send before it is read. The protocol's
/// 64 KiB would make a large insert wait for the network again and again.
const WINDOW: u32 = 1 << 20;

/// For how long a handshake may take, and waiting for its turn.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Requests that may be reset before they were looked at. h2 ends the connection
/// of whoever goes beyond.
const PENDING_RESETS: usize = 20;

/// Requests that the server itself may reset because they break the protocol.
const LOCAL_RESETS: usize = 1_024;

/// For how long the headers of an HTTP/1 request may take.
const HEADERS: Duration = Duration::from_secs(30);

/// What HTTP/1 reads of a request before it says that its headers are too large.
const HEADER_BUFFER: usize = 64 << 10;

/// For how long a connection without requests may take to close.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections to the HTTP port, and those of one client: a few scrapers and probes
/// use it, and a flood of gRPC must not take it.
const HTTP_CONNECTIONS: (usize, usize) = (1_000, 250);

/// After it was impossible to take a connection: there are no descriptors left.
const OUT_OF_FILES: Duration = Duration::from_millis(50);

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 alone.
    Grpc,
    /// HTTP/1 and HTTP/2.
    Http,
}

impl Protocol {
    /// By what ALPN knows it.
    pub fn names(self) -> &'static [&'static [u8]] {
        match self {
            Protocol::Grpc => &[b"h2"],
            Protocol::Http => &[b"http/1.1", b"h2"],
        }
    }

    /// The port in metrics and the log.
    pub fn port(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
        }
    }
}

/// A socket that is listened on.
pub struct Listener {
    pub socket: TcpListener,
    pub protocol: Protocol,
    /// `None`: plaintext.
    pub tls: Option<Arc<ServerTls>>,
    /// For who is refused because of a certificate.
    pub audit: AuditLog,
}

/// Serves until `stop`, then tells the clients to go, and ends when the last one
/// has gone.
pub async fn serve<S, B>(listener: Listener, service: S, live: Live, stop: CancellationToken)
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Listener {
        socket,
        protocol,
        tls,
        audit,
    } = listener;
    let caps = Caps::new(protocol.port());
    let handshakes = Handshakes::default();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error, protocol).await;
                continue;
            }
        };
        let sockets = live.load().sockets;
        let (most, most_of_client) = match protocol {
            Protocol::Grpc => (sockets.max_connections, sockets.max_per_client),
            Protocol::Http => HTTP_CONNECTIONS,
        };
        let place = match caps.enter(from.ip(), most, most_of_client) {
            Ok(place) => place,
            Err(full) => {
                metrics::connection_refused(protocol.port(), caps::reason(full));
                continue;
            }
        };
        let connection = Connection {
            service: service.clone(),
            protocol,
            sockets,
            from,
            stop: stop.clone(),
            _place: place,
        };
        let (tls, audit, handshakes) = (tls.clone(), audit.clone(), handshakes.clone());
        connections.spawn(async move {
            match tls {
                None => connection.plain(stream).await,
                Some(tls) => {
                    connection
                        .shake_hands(stream, &tls, &handshakes, &audit)
                        .await
                }
            }
        });
    }
    // Nobody else is let in, while those who are there end.
    drop(socket);
    connections.close();
    connections.wait().await;
}

/// A client that was gone before it was taken is none of our trouble; without
/// descriptors the next one fails as well.
async fn pause_after(error: &io::Error, protocol: Protocol) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        return;
    }
    metrics::connection_refused(protocol.port(), "accept");
    tracing::warn!(port = protocol.port(), %error, "no connection can be taken");
    sleep(OUT_OF_FILES).await;
}

/// One connection, before it is known what it is.
struct Connection<S> {
    service: S,
    protocol: Protocol,
    sockets: Sockets,
    from: SocketAddr,
    stop: CancellationToken,
    _place: Place,
}

impl<S, B> Connection<S>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn plain(self, stream: TcpStream) {
        let local = prepare(&stream);
        self.run(stream, local, None).await;
    }

    async fn shake_hands(
        self,
        stream: TcpStream,
        tls: &ServerTls,
        handshakes: &Handshakes,
        audit: &AuditLog,
    ) {
        let local = prepare(&stream);
        let shaking = async {
            let _turn = handshakes.turn(Client::of(Some(self.from.ip()))).await;
            tls.acceptor().accept(stream).await
        };
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE, shaking) => shaken,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                let certificate = identity::shown(&stream);
                self.run(stream, local, certificate).await;
            }
            Ok(Err(error)) => untrusted::tell(self.protocol, self.from, &error, audit),
            Err(_) => untrusted::late(self.protocol, self.from),
        }
    }

    async fn run<T>(
        self,
        stream: T,
        local: Option<SocketAddr>,
        certificate: Option<PeerCertificate>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let seen = Arc::new(Seen::default());
        let address = TcpConnectInfo {
            local_addr: local,
            remote_addr: Some(self.from),
        };
        let counted = Counted {
            inner: self.service.clone(),
            seen: Arc::clone(&seen),
            address,
            certificate,
        };
        let builder = self.builder();
        let stream = TokioIo::new(Lingering::new(stream));
        let mut serving = pin!(builder.serve_connection(stream, TowerToHyperService::new(counted)));
        let mut first = pin!(sleep(self.sockets.first_request_timeout));
        let (mut waiting, mut going) = (true, false);
        loop {
            tokio::select! {
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %self.from, error = %in_words(&*error), "a connection ended");
                    }
                    return;
                }
                () = seen.abused() => {
                    metrics::connection_cut(self.protocol.port(), "resets");
                    return;
                }
                () = first.as_mut(), if waiting => {
                    waiting = false;
                    if seen.any() {
                        continue;
                    }
                    metrics::connection_cut(self.protocol.port(), "no_request");
                }
                () = self.stop.cancelled(), if !going => {
                    going = true;
                    if seen.any() {
                        serving.as_mut().graceful_shutdown();
                        continue;
                    }
                }
            }
            // Nothing was asked for: it is told to go, and not waited for long.
            serving.as_mut().graceful_shutdown();
            if timeout(PATIENCE, serving.as_mut()).await.is_ok() || !seen.any() {
                return;
            }
            (waiting, going) = (false, true);
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        if self.protocol == Protocol::Grpc {
            builder = builder.http2_only();
        }
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .max_concurrent_streams(self.sockets.max_streams)
            .max_header_list_size(self.sockets.max_header_bytes)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(LOCAL_RESETS);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(HEADER_BUFFER);
        builder
    }
}

/// Sends what is written at once. Answers the address on this side.
fn prepare(stream: &TcpStream) -> Option<SocketAddr> {
    // Where it cannot be set, answers take a little longer.
    let _ = stream.set_nodelay(true);
    stream.local_addr().ok()
}

fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
