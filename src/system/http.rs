//! HTTP/1.1 as far as a WebSocket upgrade and monitoring need it: heads of requests, and answers with a length.

use std::fmt::Write;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest head of a request, bytes: cookies with JWTs have to fit.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;

/// The head of a request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, ...
    pub method: String,
    /// Before the question mark.
    pub path: String,
    /// After it, as sent.
    pub query: String,
    minor: u8,
    headers: Vec<(String, String)>,
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not HTTP.
    #[error("not an HTTP request: {0}")]
    Syntax(#[from] httparse::Error),
    /// A head that does not end.
    #[error("its head is longer than {MAX_HEAD} bytes")]
    TooLong,
}

impl Request {
    /// Reads one head; `buffer` keeps what came beyond it. `None` if the other side closed before it began one.
    pub async fn read<S: AsyncRead + Unpin>(
        stream: &mut S,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Request>, RequestError> {
        loop {
            if let Some((request, size)) = Request::parse(buffer)? {
                buffer.drain(..size);
                return Ok(Some(request));
            }
            if buffer.len() >= MAX_HEAD {
                return Err(RequestError::TooLong);
            }
            if stream.read_buf(buffer).await? == 0 {
                return if buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    /// The head at the beginning of `bytes` and its size; `None` if there is more to come.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, httparse::Error> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(size) = head.parse(bytes)? else { return Ok(None) };
        let target = head.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let request = Request {
            method: head.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            minor: head.version.unwrap_or_default(),
            headers: head.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect(),
        };
        Ok(Some((request, size)))
    }

    /// Every value of a header.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a header that is a list has this element, in any case.
    pub fn lists(&self, name: &str, element: &str) -> bool {
        self.values(name).flat_map(|value| value.split(',')).any(|e| e.trim().eq_ignore_ascii_case(element))
    }

    /// Whether another request may follow on the same connection.
    pub fn is_persistent(&self) -> bool {
        if self.minor == 0 { self.lists("Connection", "keep-alive") } else { !self.lists("Connection", "close") }
    }

    /// Whether nothing but the head was sent.
    pub fn has_no_body(&self) -> bool {
        self.header("Transfer-Encoding").is_none() && self.header("Content-Length").is_none_or(|length| length == "0")
    }

    /// The cookies, name and value.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.values("Cookie").flat_map(|value| value.split(';'));
        all.filter_map(|cookie| cookie.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Of the body.
    pub content_type: &'static str,
    /// Further headers, name and value.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent.
    pub body: Vec<u8>,
}

impl Response {
    /// One that only says its status, as Go's `http.Error` with `http.StatusText`.
    pub fn status(status: u16) -> Response {
        let body = format!("{}\n", reason(status)).into_bytes();
        Response { status, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body }
    }

    /// Writes it. Without `body` only the head goes out, as HEAD wants it.
    pub async fn write<S: AsyncWrite + Unpin>(&self, stream: &mut S, keep_alive: bool, body: bool) -> io::Result<()> {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len()
        );
        for (name, value) in &self.headers {
            // Writing to a String cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str(if keep_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
        let mut bytes = head.into_bytes();
        if body {
            bytes.extend_from_slice(&self.body);
        }
        stream.write_all(&bytes).await?;
        stream.flush().await
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn a_head_and_what_follows_it() {
        let head = b"GET /connz?subs=1&state=any HTTP/1.1\r\nhost: h:1\r\nConnection: keep-alive, Upgrade\r\nCookie: a=1; b = \"x=y\"\r\n\r\n";
        for part in 0..head.len() {
            assert!(Request::parse(&head[..part]).expect("valid").is_none());
        }
        let (text, mut buffer) = ([&head[..], b"more"].concat(), Vec::new());
        let request = Request::read(&mut &text[..], &mut buffer).await.expect("valid").expect("a request");
        assert_eq!((&*request.method, &*request.path, &*request.query), ("GET", "/connz", "subs=1&state=any"));
        assert_eq!(request.header("HOST"), Some("h:1"));
        assert!(request.lists("connection", "upgrade") && !request.lists("connection", "keep"));
        assert_eq!(request.cookies().collect::<Vec<_>>(), [("a", "1"), ("b", "x=y")]);
        assert_eq!(buffer, b"more");
    }

    #[tokio::test]
    async fn what_is_no_request_is_refused() {
        for (text, want) in [
            (b"\x16\x03\x01\x02\x00\x01".to_vec(), "not an HTTP request"),
            (b"GET / HTT".to_vec(), "unexpected end of file"),
            ([b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'y'; MAX_HEAD]].concat(), "longer than"),
        ] {
            let error = Request::read(&mut &text[..], &mut Vec::new()).await.expect_err("refused");
            assert!(error.to_string().contains(want), "{error}");
        }
        assert!(Request::read(&mut &b""[..], &mut Vec::new()).await.expect("closed").is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_an_error_or_too_short(bytes: Vec<u8>) {
            let _ = Request::parse(&bytes);
        }
    }
}
