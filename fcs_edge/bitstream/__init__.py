"""The .fcs bitstream: writer, reader and bit packing."""
