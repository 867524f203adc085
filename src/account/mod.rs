//! Accounts: each has its own subject space, router and subscriptions.
//!
//! A publisher (client, leaf link, adapter, stream) hands a borrowed [`Message`] to [`Account::route`], which finds the
//! matching subscriptions (through the publisher's own [`RouteCache`] where it can) and calls each one's [`Target`]. A
//! target copies what it keeps; nothing in here waits or does I/O. What was touched is flushed once when the [`Batch`] ends.

mod cache;
mod describe;
mod interest;
mod local;
mod mapping;
mod message;
mod registry;
mod router;
mod seat;
mod sharing;
mod subscription;
mod trace;

pub use cache::RouteCache;
pub use describe::Describe;
pub use interest::InterestWatcher;
pub use local::{Inbox, LocalClient, RequestError, new_inbox};
pub use mapping::{Mapped, MappingError, Mappings};
pub use message::{Message, OwnedMessage};
pub use registry::{Accounts, GLOBAL_ACCOUNT, SYSTEM_ACCOUNT};
pub use router::{Account, Origin};
pub use seat::Seat;
pub use sharing::{
    Access, Import, ImportView, RESPONSE_THRESHOLD, Reason, ResponseType, ServiceExport, ShareError, Shares,
    StreamExport, check, share,
};
pub use subscription::{Batch, Subscription, Target, TargetId, TargetKind};
pub use trace::{Arrival, DEST, DISABLED, Exported, Party, Sampled, Step, Trace, untraced};
