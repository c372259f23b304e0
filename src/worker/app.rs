//! What a program on top of the sessions provides.

use crate::http::head::RequestHead;
use crate::http::response::Prepared;

/// Names a prepared response of the program.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseId(pub u32);

/// The program: it decides; sessions read and write.
pub trait App {
    /// The answer to a request. It must depend on nothing but the head: workers remember it for equal heads.
    fn answer(&mut self, head: &RequestHead<'_>) -> ResponseId;

    /// The route that gives a response, by its place in the configuration; None: no route's.
    fn route(&self, id: ResponseId) -> Option<usize>;

    /// A response by its name.
    fn response(&self, id: ResponseId) -> &Prepared;
}
