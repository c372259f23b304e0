//! Collecting intervals that come in order, late, twice or not at all.
