//! A server on a real socket, and clients that behave, or do not.

mod answers;
mod clients;
mod drain;
mod fixture;
