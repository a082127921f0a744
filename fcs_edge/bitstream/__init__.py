"""The .fcs bitstream: writer, reader and bit packing."""

from fcs_edge.bitstream.events import Damage, End, Event, HeaderRead, Tokens
from fcs_edge.bitstream.reader import BitstreamReader, read_events
from fcs_edge.bitstream.writer import BitstreamWriter, Header

__all__ = [
    "BitstreamReader",
    "BitstreamWriter",
    "Damage",
    "End",
    "Event",
    "Header",
    "HeaderRead",
    "Tokens",
    "read_events",
]
