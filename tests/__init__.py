"""The tests: sentences that state a rule. See CONTRIBUTING.md for the rooms."""
