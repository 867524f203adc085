//! What is fuzzed: tokens of strangers, and bodies as accounts and operators might sign them.

use super::{AccountClaims, Claims, Names, OperatorClaims, UserClaims, fill_in, mappings, shares, valid_for};
use crate::auth::Permissions;
use std::net::{IpAddr, Ipv4Addr};
use std::time::UNIX_EPOCH;

/// One input: a token, and a body.
pub fn jwt(data: &[u8]) {
    if let Ok(token) = std::str::from_utf8(data) {
        let _ = Claims::<UserClaims>::decode(token);
    }
    let now = UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
    if let Ok((_, operator)) = Claims::<OperatorClaims>::read(data) {
        let _ = operator.is_current(now);
    }
    if let Ok((_, user)) = Claims::<UserClaims>::read(data) {
        let names = Names {
            user: &user.name,
            user_key: &user.subject,
            user_tags: &user.nats.tags,
            account: &user.audience,
            account_key: &user.issuer,
            account_tags: &user.nats.tags,
        };
        let limits = &user.nats.limits;
        for permissions in [Ok(limits.permissions.clone()), fill_in(&limits.permissions, &names)].into_iter().flatten()
        {
            if let Some(Ok(permissions)) = permissions.lists().map(|lists| Permissions::new(&lists)) {
                permissions.may_publish("a.b");
                permissions.may_subscribe("a.>", Some("q"));
            }
        }
        let _ = valid_for(limits, IpAddr::V4(Ipv4Addr::LOCALHOST), now);
        let _ = user.remaining(now);
    }
    if let Ok((_, account)) = Claims::<AccountClaims>::read(data) {
        let valid = account.validate().is_ok();
        let (shares, _) = shares(&account, |_| Some(&account), now);
        let _ = mappings(&account);
        let all = std::collections::BTreeMap::from([(account.subject.clone(), shares)]);
        let right = crate::account::check(&all).is_ok();
        // What is right by itself need not be so beside others, but nothing of it may panic.
        let _ = (valid, right);
    }
}
