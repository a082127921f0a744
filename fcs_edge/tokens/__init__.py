"""Tokens stored and read: arrays in files, the settings beside them, and events decoded."""
