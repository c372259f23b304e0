//! The flow table: 4-tuple to connection slot.
