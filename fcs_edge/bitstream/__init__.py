"""The .fcs bitstream: writer, reader and bit packing."""

from fcs_edge.bitstream.events import Damage, End, Event, HeaderRead, Metadata, Tokens
from fcs_edge.bitstream.header import Header
from fcs_edge.bitstream.reader import BitstreamReader, read_events
from fcs_edge.bitstream.writer import BitstreamWriter

__all__ = [
    "BitstreamReader",
    "BitstreamWriter",
    "Damage",
    "End",
    "Event",
    "Header",
    "HeaderRead",
    "Metadata",
    "Tokens",
    "read_events",
]
