//! Heads of HTTP answers: of a proxy's CONNECT and of a WebSocket upgrade.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest head, bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// The head of an answer.
#[derive(Debug)]
pub struct Answer {
    /// Such as 101.
    pub status: u16,
    /// In words.
    pub reason: String,
    headers: Vec<(String, String)>,
}

impl Answer {
    /// Reads one head and not a byte beyond it, as what follows belongs to another protocol.
    pub async fn read<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<Answer, String> {
        let mut head = Vec::with_capacity(256);
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= MAX_HEAD {
                return Err(format!("the head of its answer is longer than {MAX_HEAD} bytes"));
            }
            head.push(stream.read_u8().await.map_err(|error| error.to_string())?);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let parsed = answer.parse(&head).map_err(|error| format!("its answer is not HTTP: {error}"))?;
        let (Some(status), httparse::Status::Complete(_)) = (answer.code, parsed) else {
            return Err("its answer is not HTTP".into());
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = answer.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect();
        Ok(Answer { status, reason: answer.reason.unwrap_or_default().to_owned(), headers })
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_head_is_read_and_nothing_beyond_it() {
        let mut bytes = &b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nINFO {}"[..];
        let answer = Answer::read(&mut bytes).await.expect("valid");
        assert_eq!((answer.status, answer.header("via"), bytes), (200, Some("x"), &b"INFO {}"[..]));
        assert!(Answer::read(&mut &b"INFO {}\r\n\r\n"[..]).await.is_err_and(|e| e.contains("not HTTP")));
        assert!(Answer::read(&mut &b"HTTP/1.1 200"[..]).await.is_err());
        let long = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; MAX_HEAD]].concat();
        assert!(Answer::read(&mut &long[..]).await.is_err_and(|e| e.contains("longer")));
    }
}
