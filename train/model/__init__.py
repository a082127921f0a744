"""FocalCodec-Stream in PyTorch, written for training; its state dict has the published names."""

from train.model.codec import Coded, FocalCodecStream

__all__ = ["Coded", "FocalCodecStream"]
