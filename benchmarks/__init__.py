"""Measurements of coord beside raw redis-py on the same server in the same run: `make bench`."""
