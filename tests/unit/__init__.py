"""Rules and models: pure functions, no server, no process."""
