//! A page in headless Chromium, which says at the end what came of it.

use super::LIMIT;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The web server of the page, and the folder of the browser that shows it.
pub struct Page {
    listener: TcpListener,
    dir: PathBuf,
    script: String,
}

struct Browser(Child);

impl Page {
    /// Bundles `tests/node/page.mjs` with the modules in `modules`.
    pub fn new(dir: &Path, modules: &Path) -> Page {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/page.mjs");
        let mut esbuild = Command::new(modules.join("node_modules/.bin/esbuild"));
        esbuild.arg(source).args(["--bundle", "--format=esm", "--log-level=warning"]);
        let output = esbuild.env("NODE_PATH", modules.join("node_modules")).output().expect("esbuild runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        listener.set_nonblocking(true).expect("supported");
        Page { listener, dir: dir.to_owned(), script: String::from_utf8(output.stdout).expect("UTF-8") }
    }

    /// The page's origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.listener.local_addr().expect("bound"))
    }

    /// Shows the page, which connects to `url`; what it says at its end.
    pub fn show(&self, url: &str) -> String {
        let mut chromium = Command::new("chromium");
        chromium.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"]);
        chromium.arg(format!("--user-data-dir={}", self.dir.join("chromium").display()));
        chromium.arg(format!("{}/#{url}", self.origin())).stdin(Stdio::null()).stdout(Stdio::null());
        let _browser = Browser(chromium.stderr(Stdio::null()).spawn().expect("chromium runs"));
        let until = Instant::now() + LIMIT * 3;
        while Instant::now() < until {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Some(result) = self.answer(stream) {
                        return result;
                    }
                }
                Err(_) => std::thread::sleep(super::LOOK),
            }
        }
        panic!("the page says nothing");
    }

    /// Answers one request; the body of the one with the result.
    fn answer(&self, stream: TcpStream) -> Option<String> {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(LIMIT)).ok()?;
        let mut reader = BufReader::new(stream);
        let (mut request, mut length) = (String::new(), 0);
        reader.read_line(&mut request).ok()?;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            match header.trim().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok()?
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (kind, text) = match request.split(' ').nth(1)? {
            "/" => ("text/html", "<script type=module src=/page.js></script>"),
            "/page.js" => ("text/javascript", self.script.as_str()),
            _ => ("text/plain", ""),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            text.len()
        );
        reader.get_mut().write_all((head + text).as_bytes()).ok()?;
        request.starts_with("POST /result").then(|| String::from_utf8_lossy(&body).into_owned())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
