//! Who a client is and what it may do: authentication at CONNECT, permissions at each publish and subscription.
//!
//! The rules are those of nats-server's `auth.go` and `client.go`. A client without permissions costs nothing here.

mod permissions;
mod replies;

pub use permissions::{PermissionLists, Permissions, PublishGate, ResponseLimit, SubjectPermission, bare};
pub use replies::Replies;
