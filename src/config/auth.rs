//! `[authorization]`: who may connect, and what they may do. Users of accounts stand in `[accounts.NAME]`.

use super::secret::Secret;
use super::units::Duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[authorization]`: everything absent, anybody may connect.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthorizationConfig {
    /// The only user, where one is enough.
    pub user: Option<String>,
    /// Password of `user`; a text that begins with `$2a$` or `$2b$` is its bcrypt hash.
    pub password: Option<Secret>,
    /// A token that stands for all clients; plain, or its bcrypt hash.
    pub token: Option<Secret>,
    /// Users of the account `$G`.
    pub users: Vec<UserConfig>,
    /// What users may do who have no permissions of their own.
    pub default_permissions: Option<PermissionsConfig>,
    /// How long a client has to send CONNECT. Default: 2s (1s more than `tls.timeout` with TLS).
    pub timeout: Option<Duration>,
    /// User of those who give no credentials.
    pub no_auth_user: Option<String>,
    /// Account of the system's events and requests. Default: `$SYS`.
    pub system_account: Option<String>,
    /// JWTs of the operators whose accounts are trusted: the text itself, or a file that holds it.
    pub operator: Vec<String>,
    /// Public nkeys (`O...`) that are trusted without an operator's JWT.
    pub trusted_keys: Vec<String>,
    /// Account JWTs by the account's public nkey (`A...`).
    pub resolver_preload: BTreeMap<String, String>,
    /// Where account JWTs lie; absent: in memory, nothing but `resolver_preload`.
    pub resolver: Option<ResolverConfig>,
    /// The only accounts (public nkeys) whose users may connect, beside the system account; empty: all.
    pub resolver_pinned_accounts: Vec<String>,
    /// User JWT (a bearer token) of those who bring none, as for an auth callout.
    pub default_sentinel: Option<String>,
    /// Asks a service who somebody is (ADR-26).
    pub auth_callout: Option<AuthCalloutConfig>,
}

/// `authorization.resolver`: account JWTs in a directory, one file `A....jwt` each, as nats-server's `type: full`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolverConfig {
    /// The directory; made if it is not there. No other process may write to it.
    pub dir: PathBuf,
    /// Whether the operator may delete accounts (`$SYS.REQ.CLAIMS.DELETE`); their files become `A....jwt.deleted`.
    #[serde(default)]
    pub allow_delete: bool,
    /// Whether the files of deleted accounts are removed.
    #[serde(default)]
    pub hard_delete: bool,
    /// Accounts at most. Default: 10000.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// One user: by name and password, by nkey, or by the name that its certificate bears (`tls.verify_and_map`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserConfig {
    /// Name.
    pub user: Option<String>,
    /// Password; plain, or its bcrypt hash.
    pub password: Option<Secret>,
    /// Public nkey (`U...`) instead of name and password.
    pub nkey: Option<String>,
    /// What it may do; absent: the account's defaults, else everything.
    pub permissions: Option<PermissionsConfig>,
    /// Ways by which it may connect; empty: all.
    pub allowed_connection_types: Vec<ConnectionType>,
}

/// A way to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConnectionType {
    /// The ordinary port.
    Standard,
    /// `[websocket]`.
    Websocket,
    /// `[leaf.listen]`.
    Leafnode,
    /// A WebSocket leaf connection.
    LeafnodeWs,
    /// MQTT; leafd has no such listener, a user limited to it cannot connect.
    Mqtt,
    /// MQTT over WebSocket; likewise.
    MqttWs,
    /// Inside the process.
    InProcess,
}

/// What somebody may publish and subscribe to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PermissionsConfig {
    /// Subjects that may be published to; absent: all.
    pub publish: Option<SubjectPermission>,
    /// Subjects, or `"subject queue"`, that may be subscribed to; absent: all.
    pub subscribe: Option<SubjectPermission>,
    /// Whether the reply subject of a message that was received may be published to.
    pub allow_responses: Option<AllowResponses>,
}

/// A list of allowed subjects, or `{ allow = [...], deny = [...] }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "SubjectPermissionText")]
pub struct SubjectPermission {
    /// Allowed; `None`: all.
    pub allow: Option<Vec<String>>,
    /// Denied, also where allowed.
    pub deny: Vec<String>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a permission is a subject, a list of subjects, or { allow = [subjects], deny = [subjects] }"
)]
enum SubjectPermissionText {
    One(String),
    Many(Vec<String>),
    Both(AllowDeny),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowDeny {
    allow: Option<OneOrMany>,
    deny: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(text: OneOrMany) -> Self {
        match text {
            OneOrMany::One(subject) => vec![subject],
            OneOrMany::Many(subjects) => subjects,
        }
    }
}

impl From<SubjectPermissionText> for SubjectPermission {
    fn from(text: SubjectPermissionText) -> Self {
        match text {
            SubjectPermissionText::One(subject) => SubjectPermission { allow: Some(vec![subject]), deny: Vec::new() },
            SubjectPermissionText::Many(subjects) => SubjectPermission { allow: Some(subjects), deny: Vec::new() },
            SubjectPermissionText::Both(AllowDeny { allow, deny }) => {
                SubjectPermission { allow: allow.map(Into::into), deny: deny.map(Into::into).unwrap_or_default() }
            }
        }
    }
}

/// `allow_responses`: `true` (one response, any time), or `{ max, expires }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "AllowResponsesText")]
pub struct AllowResponses {
    /// Responses to one message; negative: any number.
    pub max: i64,
    /// Time after which no response may come any more; `None`: 2m.
    pub expires: Option<Duration>,
    /// Whether it is granted at all.
    pub granted: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "allow_responses is true, false or { max = 1, expires = \"1m\" }")]
enum AllowResponsesText {
    Flag(bool),
    Limits(ResponseLimits),
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ResponseLimits {
    max: i64,
    expires: Option<Duration>,
}

impl Default for ResponseLimits {
    fn default() -> Self {
        ResponseLimits { max: 1, expires: None }
    }
}

impl From<AllowResponsesText> for AllowResponses {
    fn from(text: AllowResponsesText) -> Self {
        match text {
            AllowResponsesText::Flag(granted) => AllowResponses { max: 1, expires: None, granted },
            AllowResponsesText::Limits(ResponseLimits { max, expires }) => {
                AllowResponses { max, expires, granted: true }
            }
        }
    }
}

/// `authorization.auth_callout` (ADR-26).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthCalloutConfig {
    /// Public nkey (`A...`) that signs the answers.
    pub issuer: String,
    /// Account in which the service listens. Default: `$G`.
    #[serde(default)]
    pub account: Option<String>,
    /// Users that are not asked about: those of the service itself.
    pub auth_users: Vec<String>,
    /// Public curve key (`X...`) with which requests are sealed.
    #[serde(default)]
    pub xkey: Option<String>,
    /// Accounts into which an answer may put somebody; empty: all.
    #[serde(default)]
    pub allowed_accounts: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::accounts::{AccountConfig, Mapping};

    #[test]
    fn permissions_in_each_form() {
        let text = "users = [{ user = \"a\", password = \"p\", permissions = { publish = \"x.>\", subscribe = { allow = [\"a\", \"b q\"], deny = \"c\" }, allow_responses = true } }]";
        let config: AuthorizationConfig = toml::from_str(text).expect("valid");
        let permissions = config.users[0].permissions.clone().expect("set");
        assert_eq!(permissions.publish.expect("set").allow.expect("set"), ["x.>"]);
        assert_eq!(permissions.subscribe.expect("set").deny, ["c"]);
        let responses = permissions.allow_responses.expect("set");
        assert!(responses.granted && responses.max == 1);
        let wrong = "[default_permissions]\npublish = { alow = [\"a\"] }";
        let error = toml::from_str::<AuthorizationConfig>(wrong).expect_err("refused").to_string();
        assert!(error.contains("allow = [subjects]"), "{error}");
    }

    #[test]
    fn accounts_with_what_they_share() {
        let text = "jetstream = { max_file = \"1GB\" }\nexports = [{ service = \"q.*\", response_type = \"stream\" }]\nimports = [{ stream = { account = \"B\", subject = \"s.>\" }, prefix = \"b\" }]\n[mappings]\n\"a.*\" = \"b.$1\"\n\"c\" = [{ destination = \"d\", weight = 20 }]";
        let config: AccountConfig = toml::from_str(text).expect("valid");
        assert!(config.jetstream.enabled && config.imports[0].stream.is_some());
        let Mapping(destinations) = &config.mappings["c"];
        assert_eq!((&*destinations[0].destination, destinations[0].weight), ("d", 20));
    }
}
