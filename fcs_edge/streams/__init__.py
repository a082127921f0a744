"""What streams share, streams of single stages, and several signals at once."""
