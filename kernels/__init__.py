"""Numba kernels: one file an operation; they know arrays, not the model."""
