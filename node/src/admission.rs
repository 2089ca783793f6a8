//! Who is let in, before any work is done for them.
//!
//! [`source`] says for whom something counts, [`shares`] how many connections each of them may hold, [`budgets`] how much
//! they may ask for, in [`rates`], and [`rules`] what the operator decides about requests.

pub mod budgets;
pub mod rates;
pub mod rules;
pub mod shares;
pub mod source;
