"""Benchmarks and the fuzz run. Not installed."""
