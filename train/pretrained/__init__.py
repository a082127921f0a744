"""Pretrained networks that losses and metrics use."""
