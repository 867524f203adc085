//! Distinguished names as text (RFC 4514) and as certificates have them (nats-server `internal/ldap/dn.go`, and the
//! spelling of Go's `pkix.RDNSequence`).

/// Attribute types with a short name.
const SHORT: [(&str, &str); 10] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.17", "POSTALCODE"),
    (DOMAIN_COMPONENT, "DC"),
];
const DOMAIN_COMPONENT: &str = "0.9.2342.19200300.100.1.25";
/// The order in which Go spells a subject.
const SPELLED: [&str; 9] = ["SERIALNUMBER", "CN", "POSTALCODE", "STREET", "ST", "L", "OU", "O", "C"];

/// One attribute of a certificate's subject.
pub struct Attribute {
    /// Its type.
    pub oid: String,
    /// Its value.
    pub value: String,
}

/// A name of relative names, the most special one first; each has attributes of a type (in upper case) and a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName(Vec<Vec<(String, String)>>);

impl DistinguishedName {
    /// Of a certificate's subject, which has its most general part first; `None` if it has an attribute that is not known.
    pub fn of_certificate(subject: &[Vec<Attribute>]) -> Option<Self> {
        let attribute = |a: &Attribute| Some((short(&a.oid)?.to_owned(), a.value.clone()));
        let relative = |attributes: &Vec<Attribute>| {
            let mut attributes = attributes.iter().map(attribute).collect::<Option<Vec<_>>>()?;
            attributes.sort();
            Some(attributes)
        };
        subject.iter().rev().map(relative).collect::<Option<Vec<_>>>().map(DistinguishedName)
    }

    /// Reads `CN=plc\, 1+UID=2,O=acme`; `None` if it is not of that form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut name = vec![Vec::new()];
        let mut rest = text;
        loop {
            let (kind, after) = rest.split_once('=')?;
            let kind = kind.trim();
            if kind.is_empty() || kind.contains([',', '+', ';']) {
                return None;
            }
            let (value, end, after) = value(after)?;
            name.last_mut()?.push((kind.to_ascii_uppercase(), value));
            match end {
                None => break,
                Some('+') => {}
                Some(_) => name.push(Vec::new()),
            }
            rest = after;
        }
        name.iter_mut().for_each(|attributes| attributes.sort());
        Some(DistinguishedName(name))
    }

    /// Whether both have the same relative names, in whatever order.
    pub fn has_the_same_parts(&self, other: &DistinguishedName) -> bool {
        let sorted = |name: &DistinguishedName| {
            let mut parts = name.0.clone();
            parts.sort();
            parts
        };
        sorted(self) == sorted(other)
    }
}

/// The value up to the next separator that is not escaped; the separator, and what comes after it.
fn value(text: &str) -> Option<(String, Option<char>, &str)> {
    let mut value = Vec::new();
    let mut kept = 0;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            ',' | '+' | ';' => {
                value.truncate(kept);
                return Some((String::from_utf8(value).ok()?, Some(char), &text[at + 1..]));
            }
            '\\' => {
                let (_, next) = chars.next()?;
                match next.to_digit(16) {
                    Some(high) if !" \"#+,;<=>\\".contains(next) => {
                        let low = chars.next()?.1.to_digit(16)?;
                        value.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    _ => value.extend(next.encode_utf8(&mut [0; 4]).bytes()),
                }
                kept = value.len();
            }
            // Blanks around the value do not belong to it.
            ' ' if value.is_empty() => {}
            _ => {
                value.extend(char.encode_utf8(&mut [0; 4]).bytes());
                if char != ' ' {
                    kept = value.len();
                }
            }
        }
    }
    value.truncate(kept);
    Some((String::from_utf8(value).ok()?, None, ""))
}

/// The spellings of a subject that are looked up as a user's name: with the domain components at the end, if there are
/// any, then without.
pub fn spellings(subject: &[Vec<Attribute>]) -> Vec<String> {
    let attributes = || subject.iter().flatten();
    let mut groups = Vec::new();
    for kind in SPELLED {
        let of_kind = attributes().filter(|a| short(&a.oid) == Some(kind));
        let group: Vec<String> = of_kind.map(|a| format!("{kind}={}", escape(&a.value))).collect();
        if !group.is_empty() {
            groups.push(group.join("+"));
        }
    }
    let plain = groups.join(",");
    let domain = attributes().filter(|a| a.oid == DOMAIN_COMPONENT).map(|a| format!("DC={}", a.value));
    let domain: Vec<String> = domain.collect();
    let mut out = Vec::new();
    if !domain.is_empty() {
        out.push(format!("{plain},{}", domain.join(",")));
    }
    if !plain.is_empty() {
        out.push(plain);
    }
    out
}

fn short(oid: &str) -> Option<&'static str> {
    SHORT.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name)
}

fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::new();
    for (at, char) in value.chars().enumerate() {
        if ",+\"\\<>;".contains(char) || (char == ' ' && (at == 0 || at == last)) || (char == '#' && at == 0) {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_text() {
        let parsed = |text| DistinguishedName::parse(text);
        assert_eq!(parsed("CN=a,O=b"), parsed("cn = a , o=b "));
        assert_eq!(parsed("CN=a\\, b"), parsed("CN=a\\2c b"));
        assert_eq!(parsed("CN=a+OU=b,O=c"), parsed("OU=b+CN=a,O=c"));
        assert_ne!(parsed("CN=a,O=b"), parsed("O=b,CN=a"));
        assert!(parsed("CN=a,O=b").expect("valid").has_the_same_parts(&parsed("O=b,CN=a").expect("valid")));
        assert!(!parsed("CN=a,O=b").expect("valid").has_the_same_parts(&parsed("O=b").expect("valid")));
        for bad in ["", "plc", "CN=a,", "CN=a,b", "CN=a\\", "=a", "CN=\\zz9\\f"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn spelled_as_go_does() {
        let attribute = |oid: &str, value: &str| Attribute { oid: oid.into(), value: value.into() };
        let subject = [
            vec![attribute(DOMAIN_COMPONENT, "com")],
            vec![attribute(DOMAIN_COMPONENT, "example")],
            vec![attribute("2.5.4.6", "DE")],
            vec![attribute("2.5.4.11", "a")],
            vec![attribute("2.5.4.11", "b")],
            vec![attribute("2.5.4.3", "#x, y ")],
        ];
        assert_eq!(
            spellings(&subject),
            ["CN=\\#x\\, y\\ ,OU=a+OU=b,C=DE,DC=com,DC=example", "CN=\\#x\\, y\\ ,OU=a+OU=b,C=DE"]
        );
        assert!(spellings(&[]).is_empty());
    }
}
