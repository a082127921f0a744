"""A stream over datagrams: packets, keys, the jitter buffer, concealment."""
