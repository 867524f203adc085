//! A client that costs little: blocking, and it parses no more than it needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One connection.
pub struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).expect("connects");
        socket.set_nodelay(true).expect("sets");
        let mut client = Client { socket, buffer: Vec::new(), at: 0 };
        client.write(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n");
        client.flush();
        client
    }

    /// Sends bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("writes");
    }

    /// Waits until the server has handled everything sent so far.
    pub fn flush(&mut self) {
        self.write(b"PING\r\n");
        while self.line() != b"PONG" {}
    }

    /// The next protocol line; a server's ping is answered and passed over.
    pub fn line(&mut self) -> Vec<u8> {
        loop {
            let line = loop {
                if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.at..]) {
                    let line = self.buffer[self.at..self.at + end].to_vec();
                    self.at += end + 1;
                    break line;
                }
                self.fill();
            };
            let line = line.strip_suffix(b"\r").unwrap_or(&line).to_vec();
            if line != b"PING" {
                return line;
            }
            self.write(b"PONG\r\n");
        }
    }

    /// The next message: its reply subject and payload (headers included).
    pub fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            let line = String::from_utf8(self.line()).expect("text");
            let fields: Vec<&str> = line.split(' ').collect();
            if !matches!(fields[0], "MSG" | "HMSG") {
                assert!(!line.starts_with("-ERR"), "{line}");
                continue;
            }
            let size: usize = fields[fields.len() - 1].parse().expect("a size");
            let with_reply = fields.len() == if fields[0] == "MSG" { 5 } else { 6 };
            let reply = if with_reply { fields[3].to_owned() } else { String::new() };
            while self.buffer.len() - self.at < size + 2 {
                self.fill();
            }
            let payload = self.buffer[self.at..self.at + size].to_vec();
            self.at += size + 2;
            return (reply, payload);
        }
    }

    /// Reads raw bytes, at least one.
    pub fn read_raw(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.socket.read(buffer).expect("reads");
        assert!(n > 0, "the server closed");
        n
    }

    /// Makes `try_read` return at once.
    pub fn nonblocking(&self) {
        self.socket.set_nonblocking(true).expect("sets");
    }

    /// Reads raw bytes if there are any.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.socket.read(buffer) {
            Ok(0) => panic!("the server closed"),
            Ok(n) => Some(n),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(e) => panic!("reads: {e}"),
        }
    }

    fn fill(&mut self) {
        if self.at > 1 << 20 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let have = self.buffer.len();
        self.buffer.resize(have + 65536, 0);
        let n = self.socket.read(&mut self.buffer[have..]).expect("reads");
        assert!(n > 0, "the server closed");
        self.buffer.truncate(have + n);
    }

    /// A request of the JetStream API.
    pub fn request(&mut self, subject: &str, payload: &str) -> serde_json::Value {
        self.write(format!("SUB _INBOX.b 99\r\nPUB {subject} _INBOX.b {}\r\n{payload}\r\n", payload.len()).as_bytes());
        let (_, answer) = self.message();
        self.write(b"UNSUB 99\r\n");
        let answer = serde_json::from_slice(&answer).unwrap_or_default();
        let answer: serde_json::Value = answer;
        assert!(answer["error"].is_null(), "{subject}: {answer}");
        answer
    }
}
