"""The stages of the codec, in the order the sound goes through them.

They are internal, and trust shapes and types: `fcs_edge.Codec` and the streams check them.
"""
