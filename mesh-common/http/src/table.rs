//! Route tables: the rule for a request.
