"""Benchmarks of streams and layers, and what one core can do at most."""
