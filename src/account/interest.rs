//! Interest: which subjects are subscribed to, as a leaf link needs to know it.

/// Told of each subscription as it comes and goes. Called under the index's lock: must not block nor call the account.
pub trait InterestWatcher: Send + Sync {
    /// A subscription was added (also called for each that existed when the watcher was registered).
    fn added(&self, subscription: &super::Subscription);
    /// A subscription was removed.
    fn removed(&self, subscription: &super::Subscription);
}
