"""Evaluate image classifiers on Ascend 310 chips, from JPEG files to Top-1..Top-5 and an honest throughput."""

__version__ = "0.1.0"
