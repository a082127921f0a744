"""Batches of augmented crops from the corpus."""
