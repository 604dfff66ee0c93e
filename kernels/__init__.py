"""Numba kernels of the host path: JPEG decode, resize + crop + normalise, rank, fingerprint."""
