"""Regression perf logs: what every run measured and where, and what may be concluded from two of them.

`fingerprint` says where it was measured, `log` keeps it, `statistics` judges numbers, `compare`, `ab` and `baseline`
judge runs, `history` finds when something changed, `export` speaks to other tools.
"""
