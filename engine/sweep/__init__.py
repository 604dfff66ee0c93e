"""Throughput tuning sweeps: which workers, batch, window, slots are best here, and which do not matter.

`space` is what may be set, `objective` what is wanted, `search` which trial comes next, `trials` keeps what was
measured, `driver` runs it, `analysis` says what may be concluded.
"""
