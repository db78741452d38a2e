//! The order of matches, one by one.
