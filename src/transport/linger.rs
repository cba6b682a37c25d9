//! Closing a connection without losing the end of an answer.
//!
//! A socket that is closed while bytes of the peer are unread, or before the
//! last of them arrive, makes the kernel reset the connection and forget what
//! it has not sent yet. HTTP/2 clients always have something on the way: window
//! updates, pings, requests that crossed the GOAWAY. So the server ends its own
//! half first, and reads on until the client ends the other.

use std::{
    future::Future,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// For how long a client may take to close. Those that speak HTTP/2 do it as
/// soon as they have read the GOAWAY and their last answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A stream whose shutdown waits for the peer's, at most [`PATIENCE`].
pub(super) struct Lingering<S> {
    stream: S,
    /// Set once our half is closed.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            patience: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.patience.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let patience = this
            .patience
            .get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        // Before the reads: a client that never stops sending is cut off too.
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut scrap = [MaybeUninit::uninit(); 4096];
        loop {
            let mut read = ReadBuf::uninit(&mut scrap);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {}
                // The client has closed, or is gone.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::Instant,
    };

    use super::*;

    #[tokio::test]
    async fn what_the_client_still_sends_does_not_cost_it_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = Lingering::new(stream);
        server.write_all(b"the answer").await.unwrap();
        client.write_all(b"a window update").await.unwrap();
        let closing = tokio::spawn(async move { server.shutdown().await });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        client.write_all(b"and another").await.unwrap();
        client.shutdown().await.unwrap();
        closing.await.unwrap().unwrap();
        let reset = client.read_to_end(&mut answer).await;
        assert!(reset.is_ok(), "{reset:?}");
        assert_eq!(answer, b"the answer");
    }

    #[tokio::test]
    async fn a_client_that_does_not_close_is_not_waited_for_long() {
        let (_client, stream) = tokio::io::duplex(64);
        let started = Instant::now();
        Lingering::new(stream).shutdown().await.unwrap();
        assert!(started.elapsed() >= PATIENCE);
    }
}
