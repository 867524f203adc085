//! What a request or message may require of the server that takes it (`server/jetstream_versioning.go`,
//! `errorOnRequiredApiLevel`).

use super::error::ApiError;
use crate::protocol::{JETSTREAM_API_LEVEL, headers};

/// The header with the least API level that will do.
pub(super) const LEVEL: &str = "Nats-Required-Api-Level";

/// Whether a message with these headers requires more than this server knows.
pub(super) fn requires_too_much(block: &[u8]) -> bool {
    let level = headers::get(block, LEVEL).unwrap_or_default();
    !level.is_empty() && level.parse::<i64>().map_or(true, |level| level > i64::from(JETSTREAM_API_LEVEL))
}

/// The refusal of such a request.
pub(super) fn required() -> ApiError {
    ApiError::new(412, 10185, "JetStream minimum api level required")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_level_is_too_much() {
        for (line, too_much) in [
            ("", false),
            ("Nats-Required-Api-Level: \r\n", false),
            ("Nats-Required-Api-Level: 0\r\n", false),
            ("Nats-Required-Api-Level: 5\r\n", false),
            ("Nats-Required-Api-Level: 6\r\n", true),
            ("Nats-Required-Api-Level: new\r\n", true),
        ] {
            assert_eq!(requires_too_much(format!("NATS/1.0\r\n{line}\r\n").as_bytes()), too_much, "{line}");
        }
    }
}
