//! Paths in one form, so that every reader of a request sees the same one.
