"""Model files: configuration, tensors and the models known by name."""
