//! Mechanisms against failure and overload. Values in, values out: nothing here does I/O.

pub mod balance;
