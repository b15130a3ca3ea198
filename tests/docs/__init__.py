"""Documents that cannot drift from what they describe."""
