"""Every other operation of the codec."""
