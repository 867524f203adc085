//! How the frames of a segment are made: the salt of their checksums.

/// Of one segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Coding {
    /// With which checksums begin; see [`super::frame`].
    pub salt: u32,
}
