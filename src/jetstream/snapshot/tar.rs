//! Tar archives as nats-server before 2.15 makes them of a stream's files (Go's `archive/tar`, in the PAX format).

use super::archive::invalid;
use std::io::{self, Read};

const BLOCK: usize = 512;
/// Largest header with the attributes of a file.
const MAX_ATTRIBUTES: u64 = 1 << 20;

/// An archive; reads what is left of the file that [`Tar::next`] has found.
pub(super) struct Tar<R> {
    input: R,
    left: u64,
    padding: u64,
}

impl<R: Read> Tar<R> {
    pub fn new(input: R) -> Self {
        Tar { input, left: 0, padding: 0 }
    }

    /// Goes to the next file, past what is left of this one, and gives its name and its length in bytes; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<(String, u64)>> {
        let mut path = None;
        loop {
            let rest = self.left + self.padding;
            (self.left, self.padding) = (0, 0);
            if io::copy(&mut (&mut self.input).take(rest), &mut io::sink())? < rest {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut head = [0; BLOCK];
            self.input.read_exact(&mut head)?;
            if head.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            if &head[257..262] != b"ustar" {
                return Err(invalid("it is neither an archive of version 2.15 nor a tar archive"));
            }
            self.left = octal(&head[124..136])?;
            self.padding = self.left.wrapping_neg() % BLOCK as u64;
            match head[156] {
                b'x' => path = attribute(&self.content(MAX_ATTRIBUTES)?, "path"),
                b'0' | 0 => {
                    let name = path.take().unwrap_or_else(|| text(&head[..100]));
                    return Ok(Some((name, self.left)));
                }
                b'g' => {}
                _ => return Err(invalid("it holds something else than files")),
            }
        }
    }

    /// All of the file, which is at most so long.
    pub fn content(&mut self, most: u64) -> io::Result<Vec<u8>> {
        if self.left > most {
            return Err(invalid("a file in it is too large"));
        }
        let (mut content, length) = (Vec::new(), self.left);
        match self.read_to_end(&mut content)? as u64 == length {
            true => Ok(content),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl<R: Read> Read for Tar<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = (&mut self.input).take(self.left).read(out)?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn octal(field: &[u8]) -> io::Result<u64> {
    let digits = text(field);
    u64::from_str_radix(digits.trim(), 8).map_err(|_| invalid("the length of a file is no number"))
}

/// Up to the first zero.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// The value of an attribute among `<length> <name>=<value>\n`.
fn attribute(mut all: &[u8], wanted: &str) -> Option<String> {
    while !all.is_empty() {
        let space = all.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&all[..space]).ok()?.parse().ok()?;
        let line = std::str::from_utf8(all.get(space + 1..length.checked_sub(1)?)?).ok()?;
        match line.split_once('=') {
            Some((name, value)) if name == wanted => return Some(value.to_owned()),
            _ => all = &all[length..],
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
        let mut head = vec![0; BLOCK];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        head[156] = kind;
        head[257..262].copy_from_slice(b"ustar");
        head.extend_from_slice(content);
        head.resize(head.len().next_multiple_of(BLOCK), 0);
        head
    }

    #[test]
    fn files_are_found_by_short_and_long_names() {
        let bytes = [
            file(b'0', "a", b"first"),
            file(b'x', "about b", b"20 mtime=1700000.25\n15 path=long/b\n"),
            file(b'0', "b", &[7; 600]),
            vec![0; 2 * BLOCK],
        ]
        .concat();
        let mut tar = Tar::new(bytes.as_slice());
        assert_eq!(tar.next().expect("read"), Some(("a".into(), 5)));
        assert_eq!(tar.next().expect("skipped"), Some(("long/b".into(), 600)));
        assert_eq!(tar.content(600).expect("read"), [7; 600]);
        assert_eq!(tar.next().expect("read"), None);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_harm(name in "[a-z]{1,9}", mut bytes: Vec<u8>, at in 0..512usize, byte: u8) {
            bytes.extend(file(b'x', &name, b"9 path=b\n"));
            bytes[at] = byte;
            let mut tar = Tar::new(bytes.as_slice());
            while let Ok(Some(_)) = tar.next() {}
        }
    }
}
