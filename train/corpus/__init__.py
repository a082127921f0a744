"""Build the training corpus: shards of speech, its text and its teacher features, from packages."""
