"""The exceptions of this package, and the boundary that turns any other one into them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fcs_edge.text import printable

_REASON_LIMIT = 200
"""Characters of a reason that another library gives."""


class FcsError(Exception):
    """Base of the errors that invalid input raises; the text is one line."""


class ConfigError(FcsError):
    """A model configuration is invalid or not supported."""


class ModelFileError(FcsError):
    """A model file is missing, damaged or of another format."""


class BitstreamError(FcsError):
    """A bitstream is damaged, or of another format or version."""


class CheckpointError(FcsError):
    """A checkpoint cannot be converted."""


class AudioError(FcsError):
    """An audio file cannot be read or written."""


class CorpusError(FcsError):
    """Inputs of a corpus, or a dataset of tokens, are missing, damaged or do not fit."""


class VoiceError(FcsError):
    """A voice is damaged, or does not fit the model."""


class AudioWarning(UserWarning):
    """A sound is read or encoded, but is cut or odd; the text is one line."""


class CheckpointWarning(UserWarning):
    """A checkpoint is converted, but something in it is ignored or changed; one line."""


@contextmanager
def parsing(path: str | os.PathLike[str], error: type[FcsError], problem: str) -> Iterator[None]:
    """Turn whatever the parsing of a file raises into one line that names the file.

    Parsers raise almost anything: OverflowError, RecursionError, TokenError. So a block under this
    boundary holds the parsing of one file and nothing else. What was raised stays the cause, which
    ``--debug`` shows.

    Parameters
    ----------
    path : str or path
        The file that the block reads.
    error : type
        The class to raise, a subclass of `FcsError`.
    problem : str
        What to say of a file that does not parse: "not a readable .npy file".

    Raises
    ------
    FcsError
        An exception of class `error` in place of any other. An FcsError of the block itself, and
        KeyboardInterrupt, pass unchanged.
    """
    try:
        yield
    except FcsError:
        raise
    except FileNotFoundError as cause:
        raise error(f"{path}: no such file") from cause
    except OSError as cause:
        raise error(f"{path}: {cause.strerror or reason(cause)}") from cause
    except MemoryError as cause:
        raise error(f"{path}: {problem}, or too large for memory") from cause
    except RecursionError as cause:
        raise error(f"{path}: {problem} (nested too deeply)") from cause
    except Exception as cause:
        raise error(f"{path}: {problem} ({reason(cause)})") from cause


def reason(error: BaseException) -> str:
    """Return the first line of an exception's text, `shown`, or its name if it has no text."""
    lines = str(error).strip().splitlines()
    return shown(lines[0]) if lines else type(error).__name__


def shown(value: object, limit: int = _REASON_LIMIT) -> str:
    """Return a value of a file as one short line for a message, without control characters."""
    text = str(value)[: limit + 1]
    return printable(text if len(text) <= limit else f"{text[:limit]} ...")
