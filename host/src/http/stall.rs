//! A connection whose peer has stopped to read is closed after a while: otherwise a vanished client of a stream would
//! hold its memory for as long as the system tries to reach it. And one whose peer still writes when it was answered is
//! closed only when the answer can have arrived.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

/// How long a peer may take none of what is written.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a peer may pause, and how long it may take in all, with what it still writes after the last answer. Closing a
/// socket that holds unread bytes resets it, and takes from the peer the answer that says why its body is refused.
const LINGER_PAUSE: Duration = Duration::from_millis(500);
const LINGER: Duration = Duration::from_secs(5);

/// See the file's head.
pub(super) struct Impatient {
    stream: TcpStream,
    /// Set while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Set after the last answer: the end of the pause in hand, and until when to read at most.
    lingering: Option<(Pin<Box<Sleep>>, Instant)>,
}

impl Impatient {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            waiting: None,
            lingering: None,
        }
    }

    /// Reads and forgets what the peer still writes, until it ends or has had its time.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (pause, end) = self.lingering.get_or_insert_with(|| {
            let now = Instant::now();
            (
                Box::pin(tokio::time::sleep_until(now + LINGER_PAUSE)),
                now + LINGER,
            )
        });
        let mut bytes = [0; 8 << 10];
        // A few at a time, so that no peer holds up the others.
        for _ in 0..16 {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => buffer.filled().len(),
                Poll::Ready(Err(_)) => 0,
                Poll::Pending => return pause.as_mut().poll(context),
            };
            let now = Instant::now();
            if read == 0 || now >= *end {
                return Poll::Ready(());
            }
            pause.as_mut().reset((now + LINGER_PAUSE).min(*end));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn write(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<Result<usize>>,
    ) -> Poll<Result<usize>> {
        if let Poll::Ready(written) = write(Pin::new(&mut self.stream), context) {
            self.waiting = None;
            return Poll::Ready(written);
        }
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + PATIENCE)));
        ready!(waiting.as_mut().poll(context));
        let seconds = PATIENCE.as_secs();
        Poll::Ready(Err(Error::new(
            ErrorKind::TimedOut,
            format!("the peer read nothing for {seconds} s"),
        )))
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.write(context, |stream, context| {
            stream.poll_write_vectored(context, parts)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.lingering.is_none() {
            // The peer sees that no answer follows.
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        self.linger(context).map(Ok)
    }
}
