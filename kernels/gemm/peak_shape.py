"""Shape of the loop that measures the peak multiply rate: `peak` and its microkernel share it."""

ROWS = 4
"""Rows of sums."""
TURNS = 8
"""Sets of factors that the loop takes in turn, so that no product can be moved out of it."""
