"""FocalCodec-Stream in PyTorch, written for training; its state dict has the published names."""

from train.model.codec import Encoding, FocalCodecStream

__all__ = ["Encoding", "FocalCodecStream"]
