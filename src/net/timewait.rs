//! TIME-WAIT entries: compact, in a table of their own.
