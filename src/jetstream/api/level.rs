//! Requests that require a higher API level than this server has are refused, each in the shape of its answer.

use super::json;
use crate::jetstream::consumer::CreateRequest;
use crate::jetstream::level;
use crate::jetstream::manager::JetStream;

/// The refusal of the request on `$JS.API.<rest>`; `None` if nobody would answer it.
pub(super) fn refuse(jetstream: &JetStream, rest: &str, payload: &[u8]) -> Option<Vec<u8>> {
    let tokens: Vec<&str> = rest.split('.').collect();
    let kind = kind(&tokens)?;
    if let ["CONSUMER", "RESET", stream, name] = tokens.as_slice() {
        // The consumer itself answers, if there is one.
        jetstream.stream(stream)?.consumers().get(name)?;
    }
    let error = match kind {
        // Read first, because in a cluster what it asks for tells who answers.
        "consumer_create_response" => json::optional::<CreateRequest>(payload).err().unwrap_or_else(level::required),
        _ => level::required(),
    };
    Some(json::envelope::<()>(kind, Err(error)))
}

/// The kind of answer to a request that looks at the level.
fn kind(tokens: &[&str]) -> Option<&'static str> {
    Some(match tokens {
        ["INFO"] => "account_info_response",
        ["STREAM", "CREATE", _] => "stream_create_response",
        ["STREAM", "UPDATE", _] => "stream_update_response",
        ["STREAM", "INFO", _] => "stream_info_response",
        ["STREAM", "NAMES"] => "stream_names_response",
        ["STREAM", "LIST"] => "stream_list_response",
        ["STREAM", "DELETE", _] => "stream_delete_response",
        ["STREAM", "PURGE", _] => "stream_purge_response",
        ["STREAM", "SNAPSHOT", _] => "stream_snapshot_response",
        ["STREAM", "RESTORE", _] => "stream_restore_response",
        ["STREAM", "MSG", "GET", _] => "stream_msg_get_response",
        ["STREAM", "MSG", "DELETE", _] => "stream_msg_delete_response",
        ["CONSUMER", "CREATE", _, ..] | ["CONSUMER", "DURABLE", "CREATE", _, _] => "consumer_create_response",
        ["CONSUMER", "NAMES", _] => "consumer_names_response",
        ["CONSUMER", "LIST", _] => "consumer_list_response",
        ["CONSUMER", "INFO", _, _] => "consumer_info_response",
        ["CONSUMER", "DELETE", _, _] => "consumer_delete_response",
        ["CONSUMER", "PAUSE", _, _] => "consumer_pause_response",
        ["CONSUMER", "UNPIN", _, _] => "consumer_unpin_response",
        ["CONSUMER", "RESET", _, _] => "consumer_reset_response",
        _ => return None,
    })
}
