//! Refuses what could be read in two ways, or costs more than it should, before a parser sees it.
