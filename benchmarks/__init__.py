"""How fast it is, measured beside raw redis-py on the same server in the same run: `make bench`.

No figure here is tested: a noisy machine must not fail a build. docs/benchmarks.md says what each figure means.
"""
