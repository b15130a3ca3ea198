"""Faults on purpose: real servers and real processes, killed, frozen and cut off; the history is checked at the end."""
