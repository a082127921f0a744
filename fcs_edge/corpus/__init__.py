"""Whole corpora: many sound files to Parquet shards of tokens, and back."""
