//! A listener whose connections are bounded in number and in time, so that nobody can use up the process's files by
//! opening connections and saying nothing.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at once; the next ones wait in the kernel's queue.
const PLACES_MAX: usize = 64;
/// Limit for one connection, all its requests included. Who asks more often than that connects again.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(30);

/// Accepts a connection when one of the places is free.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(PLACES_MAX)) }
    }
}

impl Listener for Bounded {
    type Io = Connection<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection<TcpStream>, SocketAddr) {
        // It fails only where the semaphore is closed, which nobody does.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Connection::new(stream, Limit::Whole(CONNECTION_TIME_MAX), place), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// When a connection is over.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After this time, whatever is done with it.
    Whole(Duration),
    /// When nothing could be written for this time.
    Silence(Duration),
}

/// A connection that is over when its limit says so: nothing more is read, and a write fails.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    limit: Limit,
    end: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Connection<S> {
    /// A connection that has its place until it is dropped.
    pub fn new(stream: S, limit: Limit, place: Option<OwnedSemaphorePermit>) -> Self {
        let (Limit::Whole(time) | Limit::Silence(time)) = limit;
        Self { stream, limit, end: Box::pin(tokio::time::sleep(time)), _place: place }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(context).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        if let (Limit::Silence(silence), Poll::Ready(Ok(1..))) = (self.limit, &written) {
            self.end.as_mut().reset(Instant::now() + silence);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// The clock is paused and goes on by itself where everybody waits: no real time passes.
    #[tokio::test(start_paused = true)]
    async fn silent_connections_lock_nobody_out() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/", get(|| async { "ok" }));
        let serving = tokio::spawn(axum::serve(Bounded::new(listener), router).into_future());
        let mut silent = Vec::new();
        for _ in 0..PLACES_MAX {
            silent.push(TcpStream::connect(address).await?);
        }
        let began = tokio::time::Instant::now();
        let mut late = TcpStream::connect(address).await?;
        late.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        late.read_to_string(&mut answer).await?;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        assert!(began.elapsed() > CONNECTION_TIME_MAX / 2, "it had to wait for a place");
        for mut stream in silent {
            assert_eq!(stream.read(&mut [0]).await?, 0, "closed without a word");
        }
        serving.abort();
        Ok(())
    }
}
