//! Who is let in, before any work is done for them.
//!
//! [`source`] says for whom something counts, [`shares`] how many connections each of them may hold, [`rates`] how much
//! they may ask for.

pub mod rates;
pub mod shares;
pub mod source;
