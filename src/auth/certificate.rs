//! Users by the names in a client's certificate (`verify_and_map`; nats-server `auth.go`, `checkClientTLSCertSubject`).

use super::distinguished_name::{Attribute, DistinguishedName};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The names that a certificate bears.
#[derive(Debug, Default, PartialEq)]
pub struct Names {
    /// E-mail addresses, DNS names and URIs, in the order in which they are looked up.
    alternatives: Vec<String>,
    /// The subject as it stands in the certificate.
    subject: Option<DistinguishedName>,
    /// The subject in the spellings of nats-server: with its domain components, and without.
    spelled: Vec<String>,
}

impl Names {
    /// Reads the names of a certificate in DER; `None` if that is none.
    pub fn read(der: &[u8]) -> Option<Names> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let (mut emails, mut hosts, mut uris) = (Vec::new(), Vec::new(), Vec::new());
        if let Ok(Some(extension)) = certificate.subject_alternative_name() {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::RFC822Name(email) => emails.push((*email).to_owned()),
                    GeneralName::DNSName(host) => hosts.push((*host).to_owned()),
                    GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                    _ => {}
                }
            }
        }
        let relative = certificate.subject().iter().map(|rdn| {
            let attribute = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| {
                Some(Attribute { oid: a.attr_type().to_id_string(), value: a.as_str().ok()?.to_owned() })
            };
            rdn.iter().map(attribute).collect::<Option<Vec<_>>>()
        });
        let subject = relative.collect::<Option<Vec<_>>>().unwrap_or_default();
        Some(Names {
            alternatives: [emails, hosts, uris].concat(),
            subject: DistinguishedName::of_certificate(&subject),
            spelled: super::distinguished_name::spellings(&subject),
        })
    }

    /// The first of `users` that the certificate names: by its alternative names, then by its subject, attribute by
    /// attribute in its order and in any order, then by the subject's spelling.
    pub fn find<'a, T>(&self, users: impl Fn(&str) -> Option<T>, all: impl Iterator<Item = (&'a str, T)>) -> Option<T> {
        if let Some(user) = self.alternatives.iter().find_map(|name| users(name)) {
            return Some(user);
        }
        if let Some(subject) = &self.subject {
            let mut reordered = None;
            for (name, user) in all {
                let Some(written) = DistinguishedName::parse(name) else { continue };
                if written == *subject {
                    return Some(user);
                }
                if reordered.is_none() && written.has_the_same_parts(subject) {
                    reordered = Some(user);
                }
            }
            if reordered.is_some() {
                return reordered;
            }
        }
        self.spelled.iter().find_map(|name| users(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate(change: impl Fn(&mut CertificateParams)) -> Names {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        Names::read(params.self_signed(&key).expect("signed").der()).expect("a certificate")
    }

    fn found(names: &Names, users: &[&str]) -> Option<String> {
        let known = |name: &str| users.iter().find(|user| **user == name).map(|user| (*user).to_owned());
        names.find(known, users.iter().map(|user| (*user, (*user).to_owned())))
    }

    #[test]
    fn alternative_names_come_first() {
        let names = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "plc");
            params.subject_alt_names = vec![
                SanType::DnsName("plc.example.com".try_into().expect("valid")),
                SanType::Rfc822Name("plc@example.com".try_into().expect("valid")),
                SanType::URI("spiffe://plant/plc".try_into().expect("valid")),
            ];
        });
        for user in ["plc@example.com", "plc.example.com", "spiffe://plant/plc", "CN=plc"] {
            assert_eq!(found(&names, &["other", user]).as_deref(), Some(user));
        }
        assert_eq!(found(&names, &["CN=plc", "plc.example.com"]).as_deref(), Some("plc.example.com"));
        assert_eq!(found(&names, &["plc", "CN=pl"]), None);
    }

    #[test]
    fn subjects_in_each_spelling() {
        let names = certificate(|params| {
            for (kind, value) in
                [(DnType::CountryName, "DE"), (DnType::OrganizationName, "Acme, Inc"), (DnType::CommonName, "plc 1")]
            {
                params.distinguished_name.push(kind, value);
            }
        });
        for user in ["CN=plc 1,O=Acme\\, Inc,C=DE", "O=Acme\\, Inc, C=DE, cn=plc 1"] {
            assert_eq!(found(&names, &[user]).as_deref(), Some(user), "{user}");
        }
        assert_eq!(found(&names, &["CN=plc 1,C=DE", "CN=plc 1,O=Acme,C=DE", ""]), None);
        assert_eq!(Names::read(b"nonsense"), None);
    }
}
