//! What the JWTs of operators, accounts and users say (nats-io/jwt `operator_claims.go`, `account_claims.go`,
//! `user_claims.go`). Members that nothing here uses are left unread.

use super::Kind;
use super::sharing::{ExportClaims, ImportClaims, MappingClaims};
use crate::auth::{PermissionLists, ResponseLimit, SubjectPermission};
use crate::jetstream::{self, Limits};
use nkeys::KeyPairType;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// No limit.
pub const UNLIMITED: i64 = -1;

/// An operator, who signs accounts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OperatorClaims {
    /// Other keys with which it signs.
    pub signing_keys: Vec<String>,
    /// Public nkey of the system account.
    pub system_account: String,
    /// Accounts and users have to be signed with signing keys, not with the identities themselves.
    pub strict_signing_key_usage: bool,
    /// Oldest nats-server that is good enough.
    pub assert_server_version: String,
}

impl Kind for OperatorClaims {
    const TYPE: &'static str = "operator";
    const ISSUERS: &'static [KeyPairType] = &[KeyPairType::Operator];
}

/// An account, which signs users.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AccountClaims {
    /// Bounds that the operator has set.
    pub limits: AccountLimits,
    /// Other keys with which it signs users.
    pub signing_keys: Vec<SigningKey>,
    /// Users, or `*` for all, and the second since 1970 up to which their JWTs are void.
    pub revocations: BTreeMap<String, i64>,
    /// What users may do who have no permissions of their own.
    pub default_permissions: PermissionClaims,
    /// Words about it, for templates.
    pub tags: Vec<String>,
    /// What others may use.
    #[serde(deserialize_with = "null_as_default")]
    pub exports: Vec<ExportClaims>,
    /// What it uses of others.
    #[serde(deserialize_with = "null_as_default")]
    pub imports: Vec<ImportClaims>,
    /// Rewrites of subjects that its clients publish to.
    #[serde(deserialize_with = "null_as_default")]
    pub mappings: BTreeMap<String, Vec<MappingClaims>>,
    /// Who is asked about its users.
    pub authorization: ExternalAuthorization,
    /// Where traces are told of messages that come with a `traceparent`.
    #[serde(deserialize_with = "null_as_default")]
    pub trace: TraceClaims,
}

/// Which messages of an account are traced.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TraceClaims {
    /// Subject of the traces; empty: none.
    pub dest: String,
    /// Percent; 0: all.
    pub sampling: i64,
}

impl Kind for AccountClaims {
    const TYPE: &'static str = "account";
    const ISSUERS: &'static [KeyPairType] = &[KeyPairType::Account, KeyPairType::Operator];
}

/// What an operator signs to have accounts forgotten.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeleteClaims {
    /// Their public nkeys.
    pub accounts: Option<Vec<String>>,
}

impl Kind for DeleteClaims {
    const TYPE: &'static str = "";
    const ISSUERS: &'static [KeyPairType] = &[KeyPairType::Operator, KeyPairType::Account, KeyPairType::User];
}

/// Bounds of an account; -1 is none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AccountLimits {
    /// Subscriptions of each connection.
    pub subs: i64,
    /// Largest message.
    pub payload: i64,
    /// Connections.
    pub conn: i64,
    /// Leaf connections.
    pub leaf: i64,
    /// Whether users must sign the nonce.
    pub disallow_bearer: bool,
    /// Imports.
    pub imports: i64,
    /// Exports.
    pub exports: i64,
    /// Whether exports may have wildcards.
    pub wildcards: bool,
    /// Of its streams.
    #[serde(flatten)]
    pub jetstream: JetStreamClaims,
    /// Of its streams by their number of replicas (`R1`, `R3`), in place of `jetstream`.
    #[serde(deserialize_with = "null_as_default")]
    pub tiered_limits: BTreeMap<String, JetStreamClaims>,
}

/// Bounds of an account's streams; -1 is none, and where both sizes are 0 there are no streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JetStreamClaims {
    /// Bytes of streams in memory.
    pub mem_storage: i64,
    /// Bytes of streams on disk.
    pub disk_storage: i64,
    /// Streams.
    pub streams: i64,
    /// Consumers of each stream.
    pub consumer: i64,
    /// Most that may be pending at one consumer; 0: no bound.
    pub max_ack_pending: i64,
    /// `max_bytes` of a stream in memory; 0: no bound.
    pub mem_max_stream_bytes: i64,
    /// `max_bytes` of a stream on disk; 0: no bound.
    pub disk_max_stream_bytes: i64,
    /// Whether streams must have `max_bytes`.
    pub max_bytes_required: bool,
}

impl AccountLimits {
    /// What the account may have in streams; `None`: it has none.
    pub fn streams(&self) -> Option<Limits> {
        if self.tiered_limits.is_empty() {
            return self.jetstream.has_room().then(|| Limits::Flat(self.jetstream.limits()));
        }
        let tiers = self.tiered_limits.iter().map(|(name, claims)| (name.clone(), claims.limits()));
        self.tiered_limits.values().any(JetStreamClaims::has_room).then(|| Limits::Tiered(tiers.collect()))
    }
}

impl JetStreamClaims {
    fn has_room(&self) -> bool {
        self.mem_storage != 0 || self.disk_storage != 0
    }

    /// In the form of the API, where 0 of the last ones is no bound either.
    fn limits(&self) -> jetstream::AccountLimits {
        let bound = |number: i64| if number > 0 { number } else { UNLIMITED };
        jetstream::AccountLimits {
            max_memory: self.mem_storage,
            max_storage: self.disk_storage,
            max_streams: self.streams,
            max_consumers: self.consumer,
            max_ack_pending: bound(self.max_ack_pending),
            memory_max_stream_bytes: bound(self.mem_max_stream_bytes),
            storage_max_stream_bytes: bound(self.disk_max_stream_bytes),
            max_bytes_required: self.max_bytes_required,
        }
    }
}

/// Auth callout for the users of an account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ExternalAuthorization {
    /// Users that nobody is asked about; none: there is no service.
    #[serde(deserialize_with = "null_as_default")]
    pub auth_users: Vec<String>,
    /// Accounts into which the service may put users beside its own; `*` for all.
    #[serde(deserialize_with = "null_as_default")]
    pub allowed_accounts: Vec<String>,
    /// Public curve key of the service; empty: requests are not sealed.
    pub xkey: String,
}

/// A key with which an account signs users.
#[derive(Clone, Debug, PartialEq)]
pub struct SigningKey {
    /// The public nkey.
    pub key: String,
    /// What users are bound to that it signs.
    pub scope: Option<Scope>,
}

/// Users that are signed with a scoped key have these permissions and limits and none of their own.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Scope {
    kind: String,
    key: String,
    /// With `{{name()}}` and the like in its subjects.
    #[serde(default = "unlimited")]
    pub template: UserLimits,
}

impl<'de> Deserialize<'de> for SigningKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Plain(String),
            Scoped(serde_json::Value),
        }
        let mut value = match Either::deserialize(deserializer)? {
            Either::Plain(key) => return Ok(SigningKey { key, scope: None }),
            Either::Scoped(value) => value,
        };
        // What a template leaves out is no limit, while what a user leaves out is a limit of 0.
        if let Some(template) = value.get_mut("template").and_then(|t| t.as_object_mut()) {
            for limit in ["subs", "data", "payload"] {
                template.entry(limit).or_insert(UNLIMITED.into());
            }
        }
        let scope: Scope = serde_json::from_value(value).map_err(serde::de::Error::custom)?;
        if scope.kind != "user_scope" {
            return Err(serde::de::Error::custom(format!("unknown signing key scope {:?}", scope.kind)));
        }
        Ok(SigningKey { key: scope.key.clone(), scope: Some(scope) })
    }
}

fn unlimited() -> UserLimits {
    UserLimits { subs: UNLIMITED, data: UNLIMITED, payload: UNLIMITED, ..UserLimits::default() }
}

/// A user.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UserClaims {
    /// What it may do.
    #[serde(flatten)]
    pub limits: UserLimits,
    /// Its account, where one of the account's signing keys has signed.
    pub issuer_account: String,
    /// Words about it, for templates.
    pub tags: Vec<String>,
}

impl Kind for UserClaims {
    const TYPE: &'static str = "user";
    const ISSUERS: &'static [KeyPairType] = &[KeyPairType::Account];
}

/// What a user may do, and from where and when.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UserLimits {
    /// Subjects.
    #[serde(flatten)]
    pub permissions: PermissionClaims,
    /// Networks (CIDR) from which it may connect; empty: all.
    #[serde(deserialize_with = "networks")]
    pub src: Vec<String>,
    /// Hours of the day during which it may be connected; empty: all.
    #[serde(deserialize_with = "null_as_default")]
    pub times: Vec<TimeRange>,
    /// Time zone of the hours.
    pub times_location: String,
    /// Subscriptions.
    pub subs: i64,
    /// Bytes; unused, as in nats-server.
    pub data: i64,
    /// Largest message.
    pub payload: i64,
    /// Whether it need not sign the nonce.
    pub bearer_token: bool,
    /// Whether it may come by a trusted proxy only.
    pub proxy_required: bool,
    /// Ways by which it may connect; empty: all.
    pub allowed_connection_types: Vec<String>,
}

/// From one time of day to another, `15:04:05`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TimeRange {
    /// From.
    pub start: String,
    /// To; before `start` if midnight lies between.
    pub end: String,
}

/// Permissions as JWTs write them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PermissionClaims {
    /// Publishes.
    #[serde(rename = "pub")]
    pub publish: Permission,
    /// Subscriptions.
    #[serde(rename = "sub")]
    pub subscribe: Permission,
    /// Answers.
    pub resp: Option<Responses>,
}

/// Allowed and denied subjects.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Permission {
    /// Empty: all.
    pub allow: Vec<String>,
    /// Takes precedence.
    pub deny: Vec<String>,
}

/// Answers to requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Responses {
    /// Per request; 0: one, negative: any number.
    pub max: i64,
    /// Nanoseconds; 0: two minutes, negative: any time.
    pub ttl: i64,
}

impl PermissionClaims {
    /// In the form in which they are checked; `None` if they say nothing.
    pub fn lists(&self) -> Option<PermissionLists> {
        if *self == PermissionClaims::default() {
            return None;
        }
        let list = |p: &Permission| SubjectPermission {
            allow: (!p.allow.is_empty()).then(|| p.allow.clone()),
            deny: Some(p.deny.clone()),
        };
        let default = ResponseLimit::default();
        let responses = self.resp.as_ref().map(|resp| ResponseLimit {
            max: if resp.max == 0 { default.max } else { u64::try_from(resp.max).ok() },
            expires: match resp.ttl {
                0 => default.expires,
                ttl => u64::try_from(ttl).ok().map(Duration::from_nanos),
            },
        });
        Some(PermissionLists { publish: list(&self.publish), subscribe: list(&self.subscribe), responses })
    }
}

pub(super) fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A list, or one text with commas.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Networks {
        Nothing(()),
        Text(String),
        List(Vec<String>),
    }
    Ok(match Networks::deserialize(deserializer)? {
        Networks::Nothing(()) => Vec::new(),
        Networks::List(list) => list,
        Networks::Text(text) => {
            text.split(',').map(str::trim).filter(|network| !network.is_empty()).map(str::to_owned).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_as_nsc_writes_them() {
        let user: UserClaims = serde_json::from_str(
            r#"{"pub":{"allow":["a"]},"sub":{},"resp":{"max":-1,"ttl":1000000000},"src":"10.0.0.0/8, 127.0.0.1/32","times":null,"subs":-1,"data":-1,"payload":-1,"type":"user","version":2}"#,
        )
        .expect("valid");
        assert_eq!(user.limits.src, ["10.0.0.0/8", "127.0.0.1/32"]);
        let lists = user.limits.permissions.lists().expect("set");
        assert_eq!(lists.responses, Some(ResponseLimit { max: None, expires: Some(Duration::from_secs(1)) }));
        let account: AccountClaims = serde_json::from_str(
            r#"{"signing_keys":["AX",{"kind":"user_scope","key":"AY","role":"r","template":{"pub":{"allow":["{{name()}}"]},"payload":10}}],"revocations":{"*":5},"default_permissions":{"pub":{},"sub":{}}}"#,
        )
        .expect("valid");
        let template = &account.signing_keys[1].scope.as_ref().expect("scoped").template;
        assert_eq!((template.subs, template.payload), (UNLIMITED, 10));
        assert!(account.default_permissions.lists().is_none() && account.signing_keys[0].scope.is_none());
        assert!(serde_json::from_str::<AccountClaims>(r#"{"signing_keys":[{"kind":"x","key":"A"}]}"#).is_err());
    }
}
