"""Workers and runners, with real processes."""
