//! A blocking client with one request at a time: all that the demo needs of NATS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a request may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    requests: u64,
}

impl Client {
    /// Connects; every later read or write fails after two seconds without progress.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut client = Client { stream: BufReader::new(socket), requests: 0 };
        client
            .write(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB _INBOX.demo.* 1\r\n")?;
        Ok(client)
    }

    /// Publishes and waits for the answer; gives its payload. Nobody listening is an error.
    pub fn request(&mut self, subject: &str, message_id: Option<&str>, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.requests += 1;
        let reply = format!("_INBOX.demo.{}", self.requests);
        let mut line = match message_id {
            None => format!("PUB {subject} {reply} {}\r\n", payload.len()).into_bytes(),
            Some(id) => {
                let block = format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n");
                let total = block.len() + payload.len();
                format!("HPUB {subject} {reply} {} {total}\r\n{block}", block.len()).into_bytes()
            }
        };
        line.extend_from_slice(payload);
        line.extend_from_slice(b"\r\n");
        self.write(&line)?;
        loop {
            let (to, headers, payload) = self.message()?;
            if headers.starts_with(b"NATS/1.0 503") {
                return Err(io::Error::new(io::ErrorKind::NotConnected, format!("nobody listens on {subject}")));
            }
            if to == reply {
                return Ok(payload);
            }
        }
    }

    /// The next message: subject, headers, payload. Answers pings on the way.
    fn message(&mut self) -> io::Result<(String, Vec<u8>, Vec<u8>)> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let nonsense = || io::Error::new(io::ErrorKind::InvalidData, line.trim().to_owned());
            match fields[..] {
                ["PING"] => self.write(b"PONG\r\n")?,
                ["MSG", subject, _, .., size] => {
                    let payload = self.body(size.parse().map_err(|_| nonsense())?)?;
                    return Ok((subject.to_owned(), Vec::new(), payload));
                }
                ["HMSG", subject, _, .., headers, size] => {
                    let mut block = self.body(size.parse().map_err(|_| nonsense())?)?;
                    let at: usize = headers.parse().map_err(|_| nonsense())?;
                    let payload = block.split_off(at.min(block.len()));
                    return Ok((subject.to_owned(), block, payload));
                }
                ["-ERR", ..] => return Err(nonsense()),
                _ => {}
            }
        }
    }

    fn body(&mut self, size: usize) -> io::Result<Vec<u8>> {
        let mut body = vec![0; size + 2];
        self.stream.read_exact(&mut body)?;
        body.truncate(size);
        Ok(body)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }
}
