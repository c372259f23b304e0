//! HTTP/1.1: bytes to messages and back (RFC 9110, RFC 9112); [`answer`] is the client's side, the rest the server's.
//!
//! Owns the grammar: where a head ends, what it says, how a body is framed, how an answer looks. Refuses to know
//! connections, sockets, time or routes: every function takes bytes and gives a verdict, and none but
//! [`response::Prepared::new`] allocates. Whoever holds the bytes calls, in this order:
//!
//! 1. [`head::read`] until it finds a whole head, however it was cut up on the way ([`head::scan`] and [`head::parse`] are
//!    its two halves);
//! 2. [`body::Framing::check`], then [`body::Decoder::decode`] until it is done;
//! 3. [`response::Prepared`], [`response::HeadWriter`] or [`response::error_response`] for the answer.
//!
//! What is ambiguous is refused: two readers of one byte stream that disagree on where a message ends are how requests
//! are smuggled (RFC 9112, 11.2). A [`Reject`] always ends the connection.

pub mod answer;
pub mod body;
pub mod head;
mod lanes;
pub mod reject;
pub mod response;
pub mod syntax;
pub mod target;

#[cfg(test)]
mod suite;

pub use reject::Reject;
