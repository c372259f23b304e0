//! The connections that can take a request, the one longest idle first.
//!
//! Owns a doubly linked list through arrays by slot, so that any connection leaves it in constant time and nothing is
//! allocated after start.

use crate::net::stack::ConnId;

const NONE: u32 = u32::MAX;

#[derive(Copy, Clone)]
struct Node {
    before: u32,
    after: u32,
    generation: u32,
    listed: bool,
}

/// The list.
pub struct IdleList {
    nodes: Box<[Node]>,
    first: u32,
    last: u32,
}

impl IdleList {
    /// An empty list for connections in so many slots.
    pub fn new(slots: usize) -> IdleList {
        let node = Node { before: NONE, after: NONE, generation: 0, listed: false };
        IdleList { nodes: vec![node; slots].into(), first: NONE, last: NONE }
    }

    /// Whether no connection is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Appends a connection that is not in the list.
    #[inline]
    pub fn push(&mut self, id: ConnId) {
        self.remove(id);
        let Some(node) = self.nodes.get_mut(id.slot as usize) else { return };
        *node = Node { before: self.last, after: NONE, generation: id.generation, listed: true };
        match self.nodes.get_mut(self.last as usize) {
            Some(last) => last.after = id.slot,
            None => self.first = id.slot,
        }
        self.last = id.slot;
    }

    /// Takes the first one out.
    #[inline]
    pub fn pop(&mut self) -> Option<ConnId> {
        let node = self.nodes.get(self.first as usize)?;
        let id = ConnId { slot: self.first, generation: node.generation };
        self.remove(id);
        Some(id)
    }

    /// Takes a connection out, if it is in the list.
    #[inline]
    pub fn remove(&mut self, id: ConnId) {
        let Some(node) = self.nodes.get_mut(id.slot as usize) else { return };
        if !core::mem::replace(&mut node.listed, false) {
            return;
        }
        let Node { before, after, .. } = *node;
        match self.nodes.get_mut(before as usize) {
            Some(node) => node.after = after,
            None => self.first = after,
        }
        match self.nodes.get_mut(after as usize) {
            Some(node) => node.before = before,
            None => self.last = before,
        }
    }

    /// The first one.
    pub fn peek(&self) -> Option<ConnId> {
        let node = self.nodes.get(self.first as usize)?;
        Some(ConnId { slot: self.first, generation: node.generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn it_is_a_queue_from_which_anything_can_be_taken() {
        let mut random = 1u64;
        let (mut list, mut model) = (IdleList::new(16), VecDeque::new());
        for step in 0..10_000u32 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(11);
            let id = ConnId { slot: (random >> 40) as u32 % 16, generation: step };
            match random >> 61 {
                0..4 => {
                    model.retain(|other: &ConnId| other.slot != id.slot);
                    model.push_back(id);
                    list.push(id);
                }
                4 | 5 => {
                    model.retain(|other| other.slot != id.slot);
                    list.remove(id);
                }
                _ => assert_eq!(list.pop(), model.pop_front()),
            }
            assert_eq!(list.peek(), model.front().copied());
        }
    }
}
