//! Who is let in, before any work is done for them.
//!
//! In the order in which they are asked, cheap ones first: [`offenders`] says who is not let in at all, [`budgets`] how many
//! connections and then how much a source may ask for, in [`rates`] ([`door`] asks both for a connection); [`shares`] how
//! many connections each of them may hold; [`overload`] what is given up, and [`turns`] who goes first. [`source`] is for whom something counts.

pub mod budgets;
pub mod door;
pub mod offenders;
pub mod overload;
pub mod rates;
pub mod shares;
pub mod source;
pub mod turns;
