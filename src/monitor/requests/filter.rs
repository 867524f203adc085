//! Which servers a request is for (nats-server `EventFilterOptions`).

use crate::events::Identity;
use serde::Deserialize;

/// What the server must be to answer; an empty field is no condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    server_name: String,
    cluster: String,
    host: String,
    /// Whether the three are whole, or parts.
    exact_match: bool,
    tags: Vec<String>,
    domain: String,
}

impl Filter {
    /// Whether this server is meant; it is in no cluster and has no tags.
    pub fn accepts(&self, server: &Identity) -> bool {
        let fits = |is: &str, wanted: &str| match self.exact_match {
            true => wanted.is_empty() || is == wanted,
            false => is.contains(wanted),
        };
        fits(&server.name, &self.server_name)
            && fits(&server.host, &self.host)
            && fits("", &self.cluster)
            && self.tags.is_empty()
            && (self.domain.is_empty() || server.domain.as_ref() == Some(&self.domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_meant_answers() {
        let domain = Some("factory".to_owned());
        let server = Identity { name: "gw17".into(), host: "127.0.0.1".into(), domain, ..Identity::default() };
        for (json, accepted) in [
            ("{}", true),
            (r#"{"server_name":"gw"}"#, true),
            (r#"{"server_name":"gw","exact_match":true}"#, false),
            (r#"{"server_name":"gw17","host":"127.0.0.1","exact_match":true}"#, true),
            (r#"{"host":"10."}"#, false),
            (r#"{"cluster":"c"}"#, false),
            (r#"{"tags":["a"]}"#, false),
            (r#"{"domain":"factory"}"#, true),
            (r#"{"domain":"fact"}"#, false),
        ] {
            let filter: Filter = serde_json::from_str(json).expect("valid");
            assert_eq!(filter.accepts(&server), accepted, "{json}");
        }
    }
}
