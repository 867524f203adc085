//! A message on its way through the router, borrowed and owned.

use bytes::Bytes;

/// A message borrowed from its publisher's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// A valid literal subject.
    pub subject: &'a str,
    /// Where replies go; empty if none is asked for.
    pub reply: &'a str,
    /// The header block from `NATS/1.0\r\n` to its empty line, verbatim; empty if there is none.
    pub headers: &'a [u8],
    /// The body.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// Length of headers and payload together, as `max_payload` counts it.
    pub fn size(&self) -> usize {
        self.headers.len() + self.payload.len()
    }

    /// Whether the reply subject is one that only servers may give: of answers to other accounts and of acknowledgements
    /// (nats-server's `isReservedReply` in `client.go`). A client that could would have others answer for it.
    pub fn has_reserved_reply(&self) -> bool {
        let longer = |prefix: &str| self.reply.len() > prefix.len() && self.reply.starts_with(prefix);
        self.reply.starts_with("_R_.") || longer("$JS.ACK.") || longer("_GR_.")
    }

    /// A copy that outlives the publisher's buffer.
    pub fn to_owned(&self) -> OwnedMessage {
        OwnedMessage {
            subject: self.subject.into(),
            reply: self.reply.into(),
            headers: Bytes::copy_from_slice(self.headers),
            payload: Bytes::copy_from_slice(self.payload),
        }
    }
}

/// A message that owns its parts.
#[derive(Clone, Debug, Default)]
pub struct OwnedMessage {
    /// A valid literal subject.
    pub subject: Box<str>,
    /// Where replies go; empty if none is asked for.
    pub reply: Box<str>,
    /// The header block, verbatim; empty if there is none.
    pub headers: Bytes,
    /// The body.
    pub payload: Bytes,
}

impl OwnedMessage {
    /// The borrowed form.
    pub fn borrow(&self) -> Message<'_> {
        Message { subject: &self.subject, reply: &self.reply, headers: &self.headers, payload: &self.payload }
    }
}
