//! A byte stream inside an S2 stream: what is read is unpacked chunk by chunk, what is written is packed a block at a time.

use super::Agreed;
use super::chunk::{BLOCK, Decoded, Decoder, Encoder};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const READ: usize = 16 * 1024;

/// Compressed `inner`, in both directions.
pub struct S2Stream<S> {
    inner: S,
    agreed: Agreed,
    decoder: Decoder,
    /// Read and not yet unpacked, and how many bytes the next chunk needs.
    raw: Vec<u8>,
    wanted: usize,
    /// Unpacked, from `at` on not yet handed over.
    plain: Vec<u8>,
    at: usize,
    encoder: Encoder,
    /// Packed, from `written` on not yet written.
    packed: Vec<u8>,
    written: usize,
}

impl<S> S2Stream<S> {
    /// `raw` is what was read from `inner` already.
    pub fn new(inner: S, agreed: Agreed, raw: Vec<u8>) -> Self {
        S2Stream {
            inner,
            agreed,
            decoder: Decoder::default(),
            raw,
            wanted: 0,
            plain: Vec::new(),
            at: 0,
            encoder: Encoder::default(),
            packed: Vec::new(),
            written: 0,
        }
    }

    /// Unpacks the chunks that are here until one has data; `false` if more has to be read first.
    fn unpack(&mut self) -> io::Result<bool> {
        let mut used = 0;
        self.plain.clear();
        self.at = 0;
        while self.plain.is_empty() {
            match self.decoder.pull(&self.raw[used..], &mut self.plain)? {
                Decoded::Chunk(size) => used += size,
                Decoded::Wanted(size) => {
                    self.wanted = size;
                    break;
                }
            }
        }
        self.raw.drain(..used);
        self.agreed.volumes.received.add(self.plain.len(), used);
        Ok(!self.plain.is_empty())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for S2Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.at < this.plain.len() {
                let part = buf.remaining().min(this.plain.len() - this.at);
                buf.put_slice(&this.plain[this.at..this.at + part]);
                this.at += part;
                return Poll::Ready(Ok(()));
            }
            if this.unpack()? {
                continue;
            }
            // An idle connection keeps no buffers.
            if this.raw.is_empty() && this.raw.capacity() > READ {
                (this.raw, this.plain) = (Vec::new(), Vec::new());
            }
            let missing = this.wanted.saturating_sub(this.raw.len());
            this.raw.reserve(missing.clamp(READ, BLOCK));
            if ready!(pin!(this.inner.read_buf(&mut this.raw)).poll(cx))? == 0 {
                // The end, also within a chunk: the protocol inside knows what is whole.
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> S2Stream<S> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.packed.len() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.packed[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.written = 0;
        match self.packed.capacity() > READ {
            true => self.packed = Vec::new(),
            false => self.packed.clear(),
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for S2Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.drain(cx))?;
        let block = &buf[..buf.len().min(BLOCK)];
        if !block.is_empty() {
            this.encoder.push(block, this.agreed.level(), &mut this.packed);
            // It was empty before.
            this.agreed.volumes.sent.add(block.len(), this.packed.len());
            // What the socket does not take now goes out before the next block, or with a flush.
            if let Poll::Ready(Err(error)) = this.drain(cx) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(block.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::compression::Compression;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn bytes_cross_in_both_directions_through_a_narrow_pipe() {
        let (near, far) = tokio::io::duplex(100);
        let agreed = Agreed::negotiate(&Compression::default(), "s2_auto", Duration::from_secs(1)).expect("known");
        let (near, far) = (S2Stream::new(near, agreed.clone(), Vec::new()), S2Stream::new(far, agreed, Vec::new()));
        let text: Vec<u8> = (0..300_000u32).map(|n| (n / 7 % 11) as u8).collect();
        let (mut near_read, mut near_write) = tokio::io::split(near);
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let (sent, echoed) = (text.clone(), text.len());
        let echo = tokio::spawn(async move {
            let mut part = [0; 999];
            let mut left = echoed;
            while left > 0 {
                let n = far_read.read(&mut part).await.expect("read");
                far_write.write_all(&part[..n]).await.expect("written");
                far_write.flush().await.expect("flushed");
                left -= n;
            }
        });
        let write = tokio::spawn(async move {
            near_write.write_all(&sent).await.expect("written");
            near_write.flush().await.expect("flushed");
        });
        let mut got = vec![0; text.len()];
        near_read.read_exact(&mut got).await.expect("all of it");
        assert!(got == text);
        write.await.expect("wrote");
        echo.await.expect("echoed");
    }
}
