//! Decimal numbers on the hot path, without going through formatting or UTF-8.

/// Appends `n` in decimal.
pub fn push(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads a size: decimal digits only, at most nine of them, as nats-server's `parseSize` takes them.
pub fn size(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0, |n: usize, b| b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_ways() {
        for n in [0, 7, 10, 123_456_789, u64::MAX] {
            let mut out = Vec::new();
            super::push(&mut out, n);
            assert_eq!(out, n.to_string().into_bytes());
        }
        assert_eq!(super::size(b"1048576"), Some(1_048_576));
        for bad in [&b""[..], b"-1", b"1x", b"1234567890"] {
            assert_eq!(super::size(bad), None);
        }
    }
}
