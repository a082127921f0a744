"""Losses, and the networks that they need."""
