//! A stream that waits neither too long nor too little.
//!
//! A client that takes nothing of an answer is not waited for. And a stream is closed without losing
//! its last answer: who refuses a request without reading all of it leaves bytes in the kernel's
//! buffer, and closing then makes the kernel send a reset, which may reach the client before the
//! answer does. So what still comes is read and dropped, within limits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Since a client last took something.
const STALL_PATIENCE: Duration = Duration::from_secs(30);
/// A client that sends more than it may gets so far.
const MAX_REST: usize = 1024 * 1024;
const REST_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Patient<S> {
    stream: S,
    stall: Option<Pin<Box<Sleep>>>,
    rest: Option<Rest>,
}

struct Rest {
    bytes: usize,
    end: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, stall: None, rest: None }
    }

    /// Of a write that the client may be holding up.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL_PATIENCE)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.rest.is_none() {
            let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.bounded(cx, shut))?;
        }
        let rest = this
            .rest
            .get_or_insert_with(|| Rest { bytes: MAX_REST, end: Box::pin(sleep(REST_PATIENCE)) });
        let mut bytes = [0; 8192];
        while rest.end.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if buf.filled().is_empty() || rest.bytes < buf.filled().len() => break,
                Ok(()) => rest.bytes -= buf.filled().len(),
                // The client went first: nobody is left to miss the answer.
                Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn reads_what_still_comes_until_the_client_is_done() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut server = Patient::new(server);
        let closing = tokio::spawn(async move {
            server.write_all(b"no").await.unwrap();
            server.shutdown().await.unwrap();
        });

        client.write_all(&[b'x'; 100_000]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();

        assert_eq!(answer, "no");
        closing.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_wait_for_ever() {
        let (_client, server) = tokio::io::duplex(16);

        let begun = tokio::time::Instant::now();
        Patient::new(server).shutdown().await.unwrap();

        assert_eq!(begun.elapsed(), REST_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_a_client_that_takes_nothing() {
        let (_client, server) = tokio::io::duplex(16);

        let begun = tokio::time::Instant::now();
        let err = Patient::new(server).write_all(&[b'x'; 1000]).await.unwrap_err();

        assert_eq!((err.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, STALL_PATIENCE));
    }
}
