"""What can go wrong, as exceptions whose text says what to do."""


class FcsError(Exception):
    """Base of every error this package raises on bad input; its text is one line."""


class ConfigError(FcsError):
    """A model configuration that is not valid, or not supported."""


class ModelFileError(FcsError):
    """A model file that is missing, damaged, or not one of ours."""


class BitstreamError(FcsError):
    """A bitstream that cannot be read: not ours, of another version, or damaged."""


class CheckpointError(FcsError):
    """A checkpoint that cannot be converted."""


class AudioError(FcsError):
    """An audio file that cannot be read or written."""
