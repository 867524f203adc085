//! Percent-encoding in the credentials of URLs (RFC 3986, section 2.1).

/// `text` with what is encoded in it decoded; what is no encoding stays.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_urls_are_decoded() {
        for (text, expected) in [("a%20b", "a b"), ("100%", "100%"), ("%zz%41", "%zzA"), ("plain", "plain")] {
            assert_eq!(decoded(text), expected);
        }
    }
}
