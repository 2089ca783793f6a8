//! DNSSEC: answers that a resolver can check, whatever way they came (RFC 4033 to 4035).
//!
//! Answers depend on who asks and on who is well, so they are signed when they are asked for, by every node with the same
//! [`key`], and signatures are remembered ([`signer`]): with a few nodes there are only a few different answers. What is not
//! there is proven by the whole chain of names (NSEC, [`chain`]): the names of a site are no secret, the chain is a handful of
//! records that are signed once, and a resolver that knows it answers made-up names by itself (RFC 8198), where signatures
//! made for each name would be work for everybody who invents one. [`watch`] asks other nodes, as a resolver would, whether
//! they sign with a key that is known here.

pub mod chain;
pub mod key;
pub mod signer;
pub mod watch;

#[cfg(test)]
mod tests;
