"""FocalCodec-Stream on one CPU core: speech to tokens at 0.16 to 0.80 kbps, and back.

>>> import fcs_edge, numpy
>>> codec = fcs_edge.load()
>>> signal = codec.decode(codec.encode(numpy.zeros(16000, numpy.float32)))

Models, codecs and streams
    load(model=None)  return a Codec by a model's name or path; help(fcs_edge.load) says more
    BUILT_IN          the built-in models' names, each with its quality; DEFAULT_MODEL is load()'s
    Codec             encode and decode whole signals; help(fcs_edge.Codec) lists all it does
    StreamEncoder     samples in pieces of any length to tokens; Codec.stream_encoder() creates it
    StreamDecoder     tokens in pieces of any length to samples; Codec.stream_decoder() creates it
    StageStream       any run of stages as a stream; Codec.stage_stream() creates it

Whole files, as the commands encode and decode them
    encode_file(source, out)  a sound file to .fcs, .npz or .npy; returns FileTokens
    decode_file(source, out)  .fcs, .npz or .npy to a sound file, or without `out` to an array
    read_audio(path)          a sound file to the samples that encode_file encodes
    read_fcs, write_fcs       a .fcs file to its tokens and what it states of them, and back
    corpus                    whole corpora to Parquet files of tokens; help(fcs_edge.corpus)
    load_voice(path)          a .voice file to a Voice, a speaker's features, to decode with

Errors
    FcsError          base class; its text is one line with what to do: AudioError, BitstreamError,
    CheckpointError, ConfigError, CorpusError, ModelFileError, VoiceError, and AudioWarning

Signals are one-dimensional float32 in [-1, 1] at Codec.sample_rate_in, 16 kHz. Tokens are uint16.
"""

import typing as _typing

from fcs_edge.lazy import lazy_names as _lazy_names

if _typing.TYPE_CHECKING:
    # Names that are imported `as` themselves are this package's interface. There is no __all__:
    # help(fcs_edge) would print every class in full.
    from fcs_edge.audio.reader import read_audio as read_audio
    from fcs_edge.codec import Codec as Codec
    from fcs_edge.codec import load as load
    from fcs_edge.errors import AudioError as AudioError
    from fcs_edge.errors import AudioWarning as AudioWarning
    from fcs_edge.errors import BitstreamError as BitstreamError
    from fcs_edge.errors import CheckpointError as CheckpointError
    from fcs_edge.errors import ConfigError as ConfigError
    from fcs_edge.errors import CorpusError as CorpusError
    from fcs_edge.errors import FcsError as FcsError
    from fcs_edge.errors import ModelFileError as ModelFileError
    from fcs_edge.errors import VoiceError as VoiceError
    from fcs_edge.model.voice import Voice as Voice
    from fcs_edge.model.voice import load_voice as load_voice
    from fcs_edge.modelfile.catalogue import BUILT_IN as BUILT_IN
    from fcs_edge.modelfile.catalogue import DEFAULT_MODEL as DEFAULT_MODEL
    from fcs_edge.stream import StreamDecoder as StreamDecoder
    from fcs_edge.stream import StreamEncoder as StreamEncoder
    from fcs_edge.streams.stage_stream import StageStream as StageStream
    from fcs_edge.whole_files import FileTokens as FileTokens
    from fcs_edge.whole_files import decode_file as decode_file
    from fcs_edge.whole_files import encode_file as encode_file
    from fcs_edge.whole_files import read_fcs as read_fcs
    from fcs_edge.whole_files import write_fcs as write_fcs

    __version__: str

# A module is imported at the first use of a name: a command can then report that memory is short.
__getattr__, __dir__ = _lazy_names(
    "fcs_edge",
    {
        "audio.reader": ("read_audio",),
        "codec": ("Codec", "load"),
        "errors": (
            *("AudioError", "AudioWarning", "BitstreamError", "CheckpointError", "ConfigError"),
            *("CorpusError", "FcsError", "ModelFileError", "VoiceError"),
        ),
        "model.voice": ("Voice", "load_voice"),
        "modelfile.catalogue": ("BUILT_IN", "DEFAULT_MODEL"),
        "stream": ("StreamDecoder", "StreamEncoder"),
        "streams.stage_stream": ("StageStream",),
        "version": ("__version__",),
        "whole_files": ("FileTokens", "decode_file", "encode_file", "read_fcs", "write_fcs"),
    },
    packages=("corpus",),
)
