//! Where leafd answers otherwise than nats-server 2.15.1, and why. docs/jetstream.md tells the same to users.

use super::compare::Difference;

/// A difference that is meant.
pub struct Known {
    /// Part of the request's subject and body.
    request: &'static str,
    /// Where in the answer; its beginning.
    path: &'static str,
    /// Part of what leafd says there.
    ours: &'static str,
    /// Why it is so.
    #[expect(dead_code, reason = "for the reader")]
    reason: &'static str,
}

impl Known {
    /// Whether it is about this.
    pub fn covers(&self, request: &str, difference: &Difference) -> bool {
        request.contains(self.request)
            && difference.path.starts_with(self.path)
            && difference.ours.to_string().contains(self.ours)
    }
}

/// All of them.
pub const KNOWN: &[Known] = &[
    Known {
        request: "$JS.API.",
        path: "",
        ours: "\"no responders\"",
        reason: "nats-server takes any request below $JS.API and leaves it unanswered; here the client is told at once",
    },
    Known {
        request: "CONSUMER.DURABLE.CREATE.C ",
        path: "",
        ours: "no durable name set in subject",
        reason: "nats-server does not answer at all",
    },
    Known {
        request: "$JS.API.INFO",
        path: "body.api",
        ours: "",
        reason: "what counts as a request, and when, is each server's own",
    },
    Known {
        request: "\"no_ack\":true",
        path: "body.state",
        ours: "",
        reason: "a stream of all subjects also captures the answer to its own creation, before or after it is counted",
    },
    Known {
        request: "\"first_seq\":1,",
        path: "body.state.first_seq",
        ours: "0",
        reason: "an empty stream that begins at 1 is the same as one that says nothing of it",
    },
    Known {
        request: "\"nonsense\":null",
        path: "body.error",
        ours: "(no error)",
        reason: "null is the same as absent, of unknown fields too",
    },
    Known {
        request: "\"republish\":{}",
        path: "body.config.republish",
        ours: "",
        reason: "nothing to republish to is kept as it came",
    },
    Known { request: "INFO.T ", path: "body.config.republish.dest", ours: "\"\"", reason: "the same, asked for later" },
    Known {
        request: "\"backoff\":[]",
        path: "body.error",
        ours: "(no error)",
        reason: "an empty list is the same as an absent one",
    },
    Known {
        request: "\"priority_groups\":[]",
        path: "body.error",
        ours: "(no error)",
        reason: "an empty list is the same as an absent one",
    },
    Known {
        request: "\"batch\":\"x\"",
        path: "[0].status",
        ours: "Bad Request",
        reason: "the rest of the text is the JSON parser's",
    },
    Known {
        request: "\"priority_timeout\":-1",
        path: "body.config.metadata._nats.req.level",
        ours: "0",
        reason: "the same consumer again does not raise the level that it requires",
    },
    Known {
        request: "CONSUMER.CREATE.E",
        path: "body.error",
        ours: "10102",
        reason: "nats-server cannot make the folder of an ephemeral consumer whose name is so long (10012)",
    },
    Known {
        request: "Nats-TTL=99999999999999999999",
        path: "body.error",
        ours: "10165",
        reason: "the number has more than 64 bits, of which nats-server takes the lower ones",
    },
    Known {
        request: "INFO.S",
        path: "body.config.metadata._nats.req.level",
        ours: "\"0\"",
        reason: "what nats-server 2.10 backed up has no level, and gets one here with the others",
    },
    Known {
        request: "STREAM.",
        path: "body.sources[",
        ours: "",
        reason: "when an origin that is not there was last asked, and what it said, is a matter of time",
    },
    Known { request: "STREAM.", path: "body.mirror.", ours: "", reason: "the same of a mirror" },
];
