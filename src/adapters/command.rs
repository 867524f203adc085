//! What the command sides of all adapters share: the answer to a command, and the count of those that failed.

use super::status::Health;
use crate::account::{Inbox, LocalClient, Message, OwnedMessage};

/// Answers `command`, where somebody waits for that: `+OK` when the device has it, `-ERR` and the reason when not.
pub(super) fn answer(client: &LocalClient, command: &OwnedMessage, result: Result<(), &str>, health: &Health) {
    health.add(if result.is_ok() { &health.commands } else { &health.commands_failed }, 1);
    if command.reply.is_empty() {
        return;
    }
    let text = result.map_or_else(|reason| format!("-ERR {reason}"), |()| "+OK".to_owned());
    client.publish(&Message { subject: &command.reply, reply: "", headers: b"", payload: text.as_bytes() });
}

/// Counts commands that found the inbox full; `seen` is what was counted before.
pub(super) fn note_dropped(inbox: &Inbox, seen: &mut u64, health: &Health) {
    let dropped = inbox.dropped();
    health.add(&health.commands_failed, dropped - std::mem::replace(seen, dropped));
}
