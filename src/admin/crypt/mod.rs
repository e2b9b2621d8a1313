//! The key ring as people handle it: keys come and go, and what needs them is counted and written again.
//!
//! Refuses to destroy a key that something which it was shown still needs. The keys and the bytes of envelopes are
//! [`crate::crypt`]'s.

mod vault;

pub use vault::{KeyStatus, Rewrapped, Rotated, Status, Vault};
