"""Measurements of the whole line against real servers; `dev/bench`, `dev/bench-line` and `dev/bench-guard` run them.

The package needs Python's standard library alone. Every measurement fails if a single row is missing or there twice.
"""
