"""Leaves: errors, ids, JSON text, clock, configuration and records. They import nothing above them."""
