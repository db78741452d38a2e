//! Refuses what could be read in two ways, or costs more than it should, before a parser sees it.
//!
//! Two servers that read one byte stream differently are how requests are smuggled past a policy. So nothing is
//! repaired here: what RFC 9112 and RFC 9113 do not allow, and what they allow but servers are known to read differently,
//! is refused.

pub mod h1;
pub mod h2;
mod refusal;
pub mod request;

pub use self::refusal::Refusal;
