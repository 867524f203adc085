//! Limits of an account, for all its streams or by the number of their replicas (nats-server `jetstream.go`, `selectLimits`).

use super::error::ApiError;
use super::info::{AccountInfo, AccountLimits, TierInfo};
use std::collections::BTreeMap;

/// The tier of streams with one replica, which are all that there are.
const SINGLE: &str = "R1";

/// What an account may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limits {
    /// For all streams together.
    Flat(AccountLimits),
    /// By number of replicas (`R1`, `R3`), as an account's JWT may say.
    Tiered(BTreeMap<String, AccountLimits>),
}

impl Default for Limits {
    fn default() -> Self {
        Limits::Flat(AccountLimits::default())
    }
}

impl Limits {
    /// Those of streams with so many replicas; 0 counts as one.
    ///
    /// # Errors
    /// 10120: there are none.
    pub fn of(&self, replicas: i64) -> Result<AccountLimits, ApiError> {
        let found = match self {
            Limits::Flat(limits) => Some(limits),
            Limits::Tiered(tiers) => tiers.get(&format!("R{}", if replicas == 0 { 1 } else { replicas })),
        };
        found.copied().ok_or_else(no_limits)
    }

    /// Those of the streams that there are; `None`: there may be none.
    pub fn single(&self) -> Option<AccountLimits> {
        self.of(1).ok()
    }

    /// `all` that the account uses, in the form in which its limits are.
    pub(super) fn told(&self, all: TierInfo, info: AccountInfo) -> AccountInfo {
        let tiers = match self {
            Limits::Flat(limits) => return AccountInfo { all: TierInfo { limits: *limits, ..all }, ..info },
            Limits::Tiered(tiers) => tiers,
        };
        let mut told: BTreeMap<_, _> =
            tiers.iter().map(|(name, limits)| (name.clone(), TierInfo::unused(*limits))).collect();
        if all.streams > 0 || told.contains_key(SINGLE) {
            let limits = tiers.get(SINGLE).copied().unwrap_or(AccountLimits::ZERO);
            told.insert(SINGLE.to_owned(), TierInfo { limits, ..all });
        }
        AccountInfo { all: TierInfo { limits: AccountLimits::ZERO, ..all }, tiers: told, ..info }
    }
}

/// The account's limits are of other streams.
pub(super) fn no_limits() -> ApiError {
    ApiError::new(400, 10120, "no JetStream default or applicable tiered limit present")
}
