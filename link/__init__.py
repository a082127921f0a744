"""Streams of tokens over UDP: packets, keys, the jitter buffer, concealment."""
