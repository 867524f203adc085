//! What the machine is told, what it wants done, and its tuning.

use std::time::Duration;

/// Bounds and times of one uplink.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most messages in flight; at least 1.
    pub window: usize,
    /// Most bytes in flight; one message may always be.
    pub window_bytes: u64,
    /// How long an ack or an answer may take before the uplink asks the hub where it stands; longer by what the link takes
    /// for the bytes in flight.
    pub ack_timeout: Duration,
    /// Unanswered questions in a row after which a hub that has never answered counts as one that may not be asked.
    pub ask_tries: u32,
    /// Longest time without any answer while there is a backlog and a link; then the link is dialled anew.
    pub watchdog: Duration,
    /// First and longest wait after a temporary refusal; the wait is drawn from zero up to it.
    pub backoff: (Duration, Duration),
    /// Least time between two writes of the cursor.
    pub save_interval: Duration,
    /// How old a message may be to be chained to. The hub knows its last message's id after a restart only if that is
    /// younger than the stream's `duplicate_window` (2 minutes by default), so it is well below that.
    pub chain_age: Duration,
    /// Messages that are missing were superseded by later ones (a key-value bucket): no gaps.
    pub sparse: bool,
    /// Most messages in an atomic batch; the hub takes 1000. 0: no batches.
    pub batch: usize,
    /// Most bytes in an atomic batch; the message that reaches it is the last.
    pub batch_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            window: 256,
            window_bytes: 4 << 20,
            ack_timeout: Duration::from_secs(5),
            ask_tries: 3,
            watchdog: Duration::from_secs(30),
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            save_interval: Duration::from_secs(1),
            chain_age: Duration::from_secs(20),
            sparse: false,
            batch: 1000,
            batch_bytes: 1 << 20,
        }
    }
}

/// Where an uplink stands, as kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Everything up to this local sequence is done: at the hub, dead-lettered, or a counted gap.
    pub confirmed: u64,
    /// The last local sequence known to be stored at the hub; at most `confirmed`.
    pub held: u64,
    /// The hub stream's sequence of `held`; 0 if not known.
    pub held_position: u64,
    /// Grows when the local log turns out to be older than what the hub holds (restored from a backup), so that reused
    /// sequence numbers get new message ids.
    pub generation: u32,
    /// The hub has told where it stands, once: whoever is silent later is asked until it tells again, or refuses, as what
    /// was sent before may be there.
    pub told: bool,
}

/// What the machine is told. A `run` is one stretch between two reconciliations; it stands in the reply subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All local messages up to this sequence are on disk.
    Committed(u64),
    /// The link is up; each connection has a number of its own.
    LinkUp(u64),
    /// The link is down.
    LinkDown,
    /// The ordered message was handed to the link.
    Sent {
        /// Its local sequence.
        seq: u64,
        /// What it takes on the wire.
        bytes: u64,
    },
    /// There is no readable local message from `from` up to and including `to`.
    Gap {
        /// First missing sequence.
        from: u64,
        /// Last missing sequence.
        to: u64,
    },
    /// The ordered message cannot cross, ever (larger than the hub's `max_payload`).
    Unsendable {
        /// Its local sequence.
        seq: u64,
        /// In the operator's words.
        reason: String,
    },
    /// The ordered message has to wait for its turn, or for what the operator allows: that is no lack of progress.
    Held,
    /// What is saved with the cursor has changed.
    Unsaved,
    /// The ordered message cannot be handed to the link now (the hub's permissions, a read error).
    Blocked,
    /// The hub's answer to a message.
    Ack {
        /// The run in which it was sent.
        run: u64,
        /// Its local sequence.
        seq: u64,
        /// The answer.
        result: AckResult,
    },
    /// The answer to [`Action::AskHub`].
    Answer {
        /// The run that asked.
        run: u64,
        /// The answer.
        answer: HubAnswer,
    },
    /// The answer to [`Action::AskPosition`]; from now on the shell can guard the message by its subject's position.
    Position {
        /// The run that asked.
        run: u64,
        /// The local message that it was asked for.
        seq: u64,
        /// Our last message on that subject, if the last one there is ours: local and hub sequence.
        last: Option<(u64, u64)>,
    },
    /// The dead letter is on disk.
    Buried(u64),
    /// The dead letter could not be stored.
    BuryFailed,
    /// The cursor is on disk.
    Saved(Cursor),
    /// The cursor could not be stored.
    SaveFailed,
    /// Time has passed.
    Tick,
}

/// The hub's answer to one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckResult {
    /// It is in the hub's stream.
    Stored {
        /// The sequence there.
        position: u64,
        /// It had been there before.
        duplicate: bool,
    },
    /// Refused for now: no responders, no resources, a leader being elected.
    Temporary,
    /// It waits at the hub for the commit of its atomic batch.
    Staged,
    /// Its atomic batch is refused, whatever is in it.
    Unbatched {
        /// The hub's stream takes none at all.
        never: bool,
    },
    /// A guard did not hold: the hub's stream is not where we thought.
    Moved(LastId),
    /// Refused for good, with the hub's reason.
    Permanent(String),
}

/// The last message id in the hub's stream, as told by a failed chain guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastId {
    /// One of ours.
    Ours(u64),
    /// Another publisher's: the stream is shared.
    Foreign,
    /// Not told.
    Unknown,
}

/// Where the hub says that it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubAnswer {
    /// The highest of our messages that the hub holds.
    Held {
        /// Local and hub sequence; `None` if there is none.
        last: Option<(u64, u64)>,
        /// Asked when `last` is less than [`Cursor::held`]: the hub's stream ends before [`Cursor::held_position`] or
        /// has another message there, so it was restored or made anew. (A message that was consumed or has expired at
        /// the hub is merely no longer there.)
        lost: bool,
        /// First local sequence that can still be read.
        local_first: u64,
    },
    /// We may not ask, or nobody answers.
    Unknown,
    /// The hub cannot tell now (no stream, no leader).
    Temporary,
}

/// What ties a message to its place in the hub's stream; checked by the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// `Nats-Expected-Last-Msg-Id`: the stream's last message is ours with this local sequence.
    After(u64),
    /// `Nats-Expected-Last-Subject-Sequence`: the subject's last message is the one the shell has seen.
    Position,
    /// Only the hub's deduplication window.
    Window,
}

/// A message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its local sequence.
    pub seq: u64,
    /// The run, for the reply subject.
    pub run: u64,
    /// Its guard.
    pub guard: Guard,
    /// Its place in an atomic batch, if it travels in one.
    pub batch: Option<Place>,
}

/// A message's place in an atomic batch (ADR-50).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The local sequence of the batch's first message; with the run it names the batch.
    pub first: u64,
    /// Counted from 1.
    pub at: u64,
    /// It is the last one: all of them are to be stored, or none.
    pub commit: bool,
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the hub for the last message that it holds of ours; known positions of subjects are void.
    AskHub {
        /// The run that asks.
        run: u64,
    },
    /// Learn the position of the subject of this message, from memory or from the hub.
    AskPosition {
        /// The run that asks.
        run: u64,
        /// The local message.
        seq: u64,
    },
    /// Write the cursor to disk, then say [`Event::Saved`].
    SaveCursor(Cursor),
    /// Drop local messages up to this sequence.
    Trim(u64),
    /// Store this message in the dead-letter stream, then say [`Event::Buried`].
    Bury {
        /// The local message.
        seq: u64,
        /// Why the hub does not take it.
        reason: String,
    },
    /// The link is up, and nothing is answered: have it dialled anew.
    Redial,
    /// The hub has lost what it had confirmed: tell the operator.
    HubLost {
        /// First local sequence that the hub lacks.
        from: u64,
        /// Last local sequence that it had confirmed.
        to: u64,
        /// How many of them are gone here too.
        gone: u64,
    },
    /// The local log is older than the hub's: tell the operator.
    LocalLost {
        /// Last local sequence.
        local: u64,
        /// What the hub holds.
        hub: u64,
    },
}
