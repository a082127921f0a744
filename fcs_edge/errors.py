"""The exceptions of this package; the text of each says what to do."""


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
