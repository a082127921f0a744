"""FocalCodec-Stream on one CPU core: speech to tokens at 0.55 to 0.80 kbps, and back.

>>> import fcs_edge, numpy
>>> codec = fcs_edge.load()
>>> tokens = codec.encode(numpy.zeros(16000, numpy.float32))
>>> signal = codec.decode(tokens)
"""

from importlib.metadata import version

from fcs_edge.codec import Codec, load
from fcs_edge.errors import (
    AudioError,
    BitstreamError,
    CheckpointError,
    ConfigError,
    FcsError,
    ModelFileError,
)
from fcs_edge.modelfile.catalogue import BUILT_IN, DEFAULT_MODEL
from fcs_edge.stream import StreamDecoder, StreamEncoder

__version__ = version("fcs-edge")

__all__ = [
    "BUILT_IN",
    "DEFAULT_MODEL",
    "AudioError",
    "BitstreamError",
    "CheckpointError",
    "Codec",
    "ConfigError",
    "FcsError",
    "ModelFileError",
    "StreamDecoder",
    "StreamEncoder",
    "__version__",
    "load",
]
