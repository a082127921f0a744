"""Containers of sound: where the samples are, how many there should be, and how they are stored."""
