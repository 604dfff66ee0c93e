"""Accuracy after the fact: score dumps, compare with what was published, find out why it is bad."""
