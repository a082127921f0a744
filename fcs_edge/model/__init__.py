"""The stages of the codec, in the order the sound goes through them."""
