//! The status messages that consumers send: a header block without a body, byte for byte as nats-server writes it
//! (`server/consumer.go`), because clients match on number and text.

use super::state::Pair;
use std::io::Write;

/// A status line with its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request cannot be understood.
    BadRequest(String),
    /// The request requires a higher API level than this server has.
    RequiredLevel,
    /// A pull request to a push consumer.
    PushBased,
    /// `batch` above `max_batch`.
    MaxRequestBatch(i64),
    /// `expires` above `max_expires`, nanoseconds.
    MaxRequestExpires(i64),
    /// `max_bytes` above the consumer's `max_bytes`.
    MaxRequestMaxBytes(i64),
    /// As many requests wait as may.
    MaxWaiting,
    /// The request does not wait, and those before it want all there is.
    RequestsPending,
    /// Nothing there, and the request does not wait.
    NoMessages,
    /// The request's time is over.
    Timeout {
        /// Messages still wanted.
        messages: u64,
        /// Bytes still wanted.
        bytes: u64,
    },
    /// The next message does not fit into what is left of `max_bytes`.
    TooLarge {
        /// Messages still wanted.
        messages: u64,
        /// Bytes still wanted.
        bytes: u64,
    },
    /// The request names another id than that of the pinned client.
    OtherPin,
    /// The id that the request names is no longer that of the pinned client.
    WrongPin {
        /// Messages still wanted.
        messages: u64,
        /// Bytes still wanted.
        bytes: u64,
    },
    /// The batch is complete although bytes were left.
    BatchCompleted {
        /// Bytes still wanted.
        bytes: u64,
    },
    /// The consumer is gone.
    Deleted,
    /// The server ends.
    ServerShutdown {
        /// Messages still wanted.
        messages: u64,
        /// Bytes still wanted.
        bytes: u64,
    },
    /// A sign of life.
    Heartbeat {
        /// The last delivery.
        last: Pair,
        /// The flow control reply that the consumer waits for.
        stalled: Option<Box<str>>,
    },
    /// Asks the receiver to answer on this subject when it has come so far.
    FlowControl(Box<str>),
}

impl Status {
    /// The subject that an answer is expected on; empty if none is.
    pub fn reply(&self) -> &str {
        match self {
            Status::FlowControl(reply) => reply,
            _ => "",
        }
    }

    /// Appends the header block.
    pub fn write(&self, out: &mut Vec<u8>) {
        let line: &str = match self {
            Status::BadRequest(_) => "400 Bad Request - ",
            Status::RequiredLevel => "412 Required Api Level",
            Status::PushBased => "409 Consumer is push based",
            Status::MaxRequestBatch(_) => "409 Exceeded MaxRequestBatch of ",
            Status::MaxRequestExpires(_) => "409 Exceeded MaxRequestExpires of ",
            Status::MaxRequestMaxBytes(_) => "409 Exceeded MaxRequestMaxBytes of ",
            Status::MaxWaiting => "409 Exceeded MaxWaiting",
            Status::RequestsPending => "408 Requests Pending",
            Status::NoMessages => "404 No Messages",
            Status::Timeout { .. } => "408 Request Timeout",
            Status::TooLarge { .. } => "409 Message Size Exceeds MaxBytes",
            Status::OtherPin => "423 Nats-Pin-Id mismatch",
            Status::WrongPin { .. } => "423 Nats-Wrong-Pin-Id",
            Status::BatchCompleted { .. } => "409 Batch Completed",
            Status::Deleted => "409 Consumer Deleted",
            Status::ServerShutdown { .. } => "409 Server Shutdown",
            Status::Heartbeat { .. } => "100 Idle Heartbeat",
            Status::FlowControl(_) => "100 FlowControl Request",
        };
        out.extend_from_slice(b"NATS/1.0 ");
        out.extend_from_slice(line.as_bytes());
        // Writing to a Vec cannot fail.
        let _ = match self {
            Status::BadRequest(reason) => write!(out, "{reason}"),
            Status::MaxRequestBatch(max) | Status::MaxRequestMaxBytes(max) => write!(out, "{max}"),
            Status::MaxRequestExpires(max) => write!(out, "{}", GoDuration(*max)),
            Status::Timeout { messages, bytes }
            | Status::TooLarge { messages, bytes }
            | Status::ServerShutdown { messages, bytes }
            | Status::WrongPin { messages, bytes } => {
                write!(out, "\r\nNats-Pending-Messages: {messages}\r\nNats-Pending-Bytes: {bytes}")
            }
            Status::BatchCompleted { bytes } => {
                write!(out, "\r\nNats-Pending-Messages: 0\r\nNats-Pending-Bytes: {bytes}")
            }
            Status::Heartbeat { last, stalled } => {
                let _ = write!(out, "\r\nNats-Last-Consumer: {}\r\nNats-Last-Stream: {}", last.consumer, last.stream);
                match stalled {
                    Some(reply) => write!(out, "\r\nNats-Consumer-Stalled: {reply}"),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        };
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Nanoseconds as Go prints a `time.Duration`: `1h0m0s`, `1m30s`, `1.5s`, `100ms`.
pub struct GoDuration(
    /// Nanoseconds.
    pub i64,
);

impl std::fmt::Display for GoDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let (unit, name) = match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let mut whole = nanos / unit;
        if unit == 1_000_000_000 && whole >= 60 {
            if whole >= 3600 {
                write!(f, "{}h", whole / 3600)?;
            }
            write!(f, "{}m", whole / 60 % 60)?;
            whole %= 60;
        }
        write!(f, "{whole}")?;
        let fraction = nanos % unit;
        if fraction > 0 {
            let digits = unit.ilog10() as usize;
            let text = format!("{fraction:0digits$}");
            write!(f, ".{}", text.trim_end_matches('0'))?;
        }
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &Status) -> String {
        let mut out = Vec::new();
        status.write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn statuses_read_as_those_of_nats_server() {
        assert_eq!(text(&Status::NoMessages), "NATS/1.0 404 No Messages\r\n\r\n");
        assert_eq!(
            text(&Status::Timeout { messages: 3, bytes: 0 }),
            "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\nNats-Pending-Bytes: 0\r\n\r\n"
        );
        let last = Pair { consumer: 7, stream: 9 };
        assert_eq!(
            text(&Status::Heartbeat { last, stalled: Some("$JS.FC.S.C.x".into()) }),
            "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\nNats-Last-Stream: 9\r\nNats-Consumer-Stalled: $JS.FC.S.C.x\r\n\r\n"
        );
        assert_eq!(
            text(&Status::MaxRequestExpires(90_000_000_000)),
            "NATS/1.0 409 Exceeded MaxRequestExpires of 1m30s\r\n\r\n"
        );
    }

    #[test]
    fn durations_print_as_in_go() {
        for (nanos, expected) in [
            (0, "0s"),
            (1_500_000_000, "1.5s"),
            (100_000_000, "100ms"),
            (3_600_000_000_000, "1h0m0s"),
            (1_500, "1.5µs"),
            (-2_000_000, "-2ms"),
        ] {
            assert_eq!(GoDuration(nanos).to_string(), expected);
        }
    }
}
