//! A TCP socket as TLS wants it: reads and writes that say `WouldBlock`, and wake the task when it is time.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
};

/// Bytes thrown away at once.
const DISCARD: usize = 4096;

/// A connected socket.
pub(super) struct Socket {
    tcp: TcpStream,
}

/// The socket within one poll.
pub(super) struct Polled<'a, 'b> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp }
    }

    pub(super) fn with<'a, 'b>(&'a mut self, cx: &'a mut Context<'b>) -> Polled<'a, 'b> {
        Polled { tcp: &mut self.tcp, cx }
    }

    /// True if there is something to read, or the socket is at its end; wakes the task when there is otherwise.
    pub(super) fn is_readable(&self, cx: &Context<'_>) -> bool {
        self.tcp.poll_read_ready(&mut Context::from_waker(cx.waker())).is_ready()
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        let _ = Pin::new(&mut self.tcp).poll_shutdown(cx);
    }

    /// Reads and throws away what came. True once the client has closed.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut bytes = [0; DISCARD];
        loop {
            match io::Read::read(&mut self.with(cx), &mut bytes) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The result of a poll as that of a call.
fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl io::Read for Polled<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut bytes = ReadBuf::new(bytes);
        now(Pin::new(&mut *self.tcp).poll_read(self.cx, &mut bytes))?;
        Ok(bytes.filled().len())
    }
}

impl io::Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.tcp).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match bytes {
            // Cheaper, and what most answers are.
            [one] => self.write(one),
            many => now(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, many)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
