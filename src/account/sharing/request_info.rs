//! The header that tells a service from which account a request comes: `Nats-Request-Info`, JSON as nats-server's
//! `ClientInfo` (`events.go`).

use serde_json::{Map, Value};

const NAME: &str = "Nats-Request-Info";
const VERSION: &[u8] = b"NATS/1.0\r\n";

/// `headers` with the information that a request comes from `account`, in place of what a client may have put there itself.
/// A request that came through another import on its way keeps what was said of its origin, and names `account` as the
/// service that asked on its behalf. `told` is what may be known of the connection that asks.
pub(super) fn add(headers: &[u8], account: &str, told: Map<String, Value>, forwarded: bool) -> Vec<u8> {
    let mut info = Map::new();
    let mut out = Vec::with_capacity(headers.len() + NAME.len() + account.len() + 32);
    out.extend_from_slice(VERSION);
    let mut lines = headers.split_inclusive(|byte| *byte == b'\n');
    // A status behind the version stays.
    if let Some(first) = lines.next() {
        out.clear();
        out.extend_from_slice(first);
    }
    for line in lines.filter(|line| *line != b"\r\n") {
        match line.strip_prefix(NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b":")) {
            Some(value) => {
                if let (true, Ok(Value::Object(before))) = (forwarded, serde_json::from_slice(value)) {
                    info = before;
                }
            }
            None => out.extend_from_slice(line),
        }
    }
    let key = if info.contains_key("acc") { "svc" } else { "acc" };
    info.extend(told);
    info.insert(key.to_owned(), account.into());
    out.extend_from_slice(format!("{NAME}: {}\r\n\r\n", Value::Object(info)).as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(headers: &str, account: &str, forwarded: bool) -> String {
        String::from_utf8(add(headers.as_bytes(), account, Map::new(), forwarded)).expect("text")
    }

    #[test]
    fn it_is_added_replaced_and_kept() {
        assert_eq!(added("", "A", false), "NATS/1.0\r\nNats-Request-Info: {\"acc\":\"A\"}\r\n\r\n");
        let own = "NATS/1.0\r\nX: 1\r\nNats-Request-Info: {\"acc\":\"FORGED\"}\r\nY: 2\r\n\r\n";
        assert_eq!(added(own, "A", false), "NATS/1.0\r\nX: 1\r\nY: 2\r\nNats-Request-Info: {\"acc\":\"A\"}\r\n\r\n");
        let first = added("", "A", false);
        assert_eq!(added(&first, "B", true), "NATS/1.0\r\nNats-Request-Info: {\"acc\":\"A\",\"svc\":\"B\"}\r\n\r\n");
        assert_eq!(
            added("NATS/1.0 100\r\n\r\n", "A", false),
            "NATS/1.0 100\r\nNats-Request-Info: {\"acc\":\"A\"}\r\n\r\n"
        );
    }
}
