"""Pure functions on plain data. No Redis, no clock, no files."""
