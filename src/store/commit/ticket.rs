//! Waiting for a commit.

use crate::store::StoreError;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Resolves when what it was given for is durable, or cannot be made so. It may be dropped.
pub struct Commit(oneshot::Receiver<Result<(), StoreError>>);

/// What is told of the outcome of a commit.
pub(in crate::store) enum Ticket {
    /// The other end of a [`Commit`].
    Waits(oneshot::Sender<Result<(), StoreError>>),
    /// Called on the commit thread.
    Call(Told),
}

/// Told of the outcome of a commit, on the commit thread; must not wait, nor read from disk.
pub type Told = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(in crate::store) fn ticket() -> (Ticket, Commit) {
    let (sender, receiver) = oneshot::channel();
    (Ticket::Waits(sender), Commit(receiver))
}

impl Ticket {
    pub fn resolve(self, result: Result<(), StoreError>) {
        match self {
            Ticket::Waits(sender) => drop(sender.send(result)),
            Ticket::Call(told) => told(result),
        }
    }
}

impl Commit {
    /// Waits on a thread that may block; never call it within the async runtime.
    pub fn wait(self) -> Result<(), StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Future for Commit {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.unwrap_or(Err(StoreError::Closed)))
    }
}
