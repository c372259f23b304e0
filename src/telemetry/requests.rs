//! Requests by listener, route, method and status class: one word for each combination a configuration can give.
//!
//! Owns the numbering. Refuses to know routes and listeners by name: who reads has the configuration.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Method names by number. The last two stand for any other method and for a request whose method was never known.
pub const METHODS: [&str; 11] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other", "none"];
/// The number of any method that is not in [`METHODS`].
pub const METHOD_OTHER: usize = 9;
/// The number of the method of a request that was refused before it was known.
pub const METHOD_NONE: usize = 10;
/// Status classes by number.
pub const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// A route, a method and a status class as one number.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Cell(u32);

/// One combination and how many requests were answered with it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The listener's place in the configuration.
    pub listener: usize,
    /// The route's place in the configuration; None: no route.
    pub route: Option<usize>,
    /// Index into [`METHODS`].
    pub method: usize,
    /// Index into [`CLASSES`].
    pub class: usize,
    /// Requests.
    pub count: u64,
}

/// The words. One writer; anyone may read. Without room, which is the default, nothing is counted.
#[derive(Debug, Default)]
pub struct Requests {
    words: Box<[AtomicU64]>,
    routes: usize,
    /// Words of one listener.
    stride: usize,
}

impl Requests {
    /// Room for a configuration with so many listeners and routes.
    pub fn new(listeners: usize, routes: usize) -> Requests {
        let stride = (routes + 1) * METHODS.len() * CLASSES.len();
        Requests { words: (0..listeners * stride).map(|_| AtomicU64::new(0)).collect(), routes, stride }
    }

    /// The cell of a route (None: no route matched), a method by number and a status.
    pub fn cell(&self, route: Option<usize>, method: usize, status: u16) -> Cell {
        let route = route.unwrap_or(self.routes).min(self.routes);
        let class = usize::from(status / 100).clamp(2, 5) - 2;
        Cell(((route * METHODS.len() + method.min(METHOD_NONE)) * CLASSES.len() + class) as u32)
    }

    /// Counts a request. Only the owning worker may call it.
    #[inline]
    pub fn count(&self, listener: u8, cell: Cell) {
        if let Some(word) = self.words.get(usize::from(listener) * self.stride + cell.0 as usize) {
            super::add(word, 1);
        }
    }

    /// The combinations that occurred.
    pub fn read(&self) -> impl Iterator<Item = Entry> + '_ {
        let read = |(i, word): (usize, &AtomicU64)| {
            let count = word.load(Relaxed);
            (count > 0).then(|| self.entry(i, count))
        };
        self.words.iter().enumerate().filter_map(read)
    }

    fn entry(&self, index: usize, count: u64) -> Entry {
        let (listener, cell) = (index / self.stride, index % self.stride);
        let (rest, class) = (cell / CLASSES.len(), cell % CLASSES.len());
        let (route, method) = (rest / METHODS.len(), rest % METHODS.len());
        Entry { listener, route: (route < self.routes).then_some(route), method, class, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_a_word_of_its_own() {
        let requests = Requests::new(2, 3);
        let mut expected = Vec::new();
        for (listener, route) in [0u8, 1].into_iter().flat_map(|l| [Some(0), Some(1), Some(2), None].map(|r| (l, r))) {
            for (method, class) in (0..METHODS.len()).flat_map(|m| (0..CLASSES.len()).map(move |c| (m, c))) {
                let count = expected.len() as u64 % 3 + 1;
                let cell = requests.cell(route, method, class as u16 * 100 + 204);
                (0..count).for_each(|_| requests.count(listener, cell));
                expected.push(Entry { listener: listener.into(), route, method, class, count });
            }
        }
        assert_eq!(requests.read().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_has_no_room_is_not_counted() {
        let none = Requests::default();
        none.count(0, none.cell(None, 0, 200));
        assert_eq!(none.read().count(), 0);
        let one = Requests::new(1, 1);
        one.count(1, one.cell(Some(0), 0, 200));
        one.count(255, Cell(u32::MAX));
        assert_eq!(one.read().count(), 0);
    }
}
