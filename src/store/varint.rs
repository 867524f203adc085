//! Numbers and names in few bytes, for the files that are read as a whole: LEB128 numbers, and names that share the
//! beginning of the one before them.

/// Appends a number: seven bits a byte, the lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a number that is as often below zero as above.
pub(super) fn put_signed(out: &mut Vec<u8>, n: i64) {
    put(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// Appends a name: how much of the beginning it has in common with `before`, and the rest.
pub(super) fn put_name(out: &mut Vec<u8>, before: &str, name: &str) {
    let mut shared = before.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    while !name.is_char_boundary(shared) {
        shared -= 1;
    }
    put(out, shared as u64);
    put(out, (name.len() - shared) as u64);
    out.extend_from_slice(&name.as_bytes()[shared..]);
}

/// What is left to be read; every reading is `None` where the bytes do not hold it.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn number(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    pub fn signed(&mut self) -> Option<i64> {
        let n = self.number()?;
        Some((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    pub fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// Puts the next name in the place of the one before it.
    pub fn name(&mut self, name: &mut String) -> Option<()> {
        let shared = usize::try_from(self.number()?).ok()?;
        let rest = usize::try_from(self.number()?).ok()?;
        let rest = std::str::from_utf8(self.bytes(rest)?).ok()?;
        if !name.is_char_boundary(shared) {
            return None;
        }
        name.truncate(shared);
        name.push_str(rest);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_read(numbers: Vec<u64>, signed: Vec<i64>, names: Vec<String>) {
            let mut out = Vec::new();
            numbers.iter().for_each(|n| put(&mut out, *n));
            signed.iter().for_each(|n| put_signed(&mut out, *n));
            let mut before = "";
            for name in &names {
                put_name(&mut out, before, name);
                before = name;
            }
            let mut cursor = Cursor(&out);
            prop_assert!(numbers.iter().all(|n| cursor.number() == Some(*n)));
            prop_assert!(signed.iter().all(|n| cursor.signed() == Some(*n)));
            let mut read = String::new();
            prop_assert!(names.iter().all(|name| cursor.name(&mut read).is_some() && read == *name));
            prop_assert!(cursor.0.is_empty());
        }

        #[test]
        fn anything_is_read_without_harm(bytes: Vec<u8>) {
            let mut cursor = Cursor(&bytes);
            let mut name = "é".to_owned();
            while cursor.name(&mut name).is_some() {}
            let _ = (cursor.signed(), cursor.number());
        }
    }
}
