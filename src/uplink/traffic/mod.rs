//! Who may send, and when: classes, limits and the window of the link, over all uplinks.
//!
//! Each uplink asks before each message ([`Member::admit`]). Its own limits come first, then those of the whole WAN, then
//! the classes: while an uplink of a more urgent class waits for room on the link, the others send nothing. Then there is
//! the room itself ([`pace`]). Decisions are pure functions of a [`Moment`]; [`Traffic`] adds clock and lock.

mod clock;
mod limits;
mod member;
#[cfg(test)]
mod narrow;
mod pace;
mod rules;
mod share;

pub use clock::Moment;
pub use limits::{Limits, Spent};
pub use member::{Member, Traffic, Usage};
pub use rules::Held;
