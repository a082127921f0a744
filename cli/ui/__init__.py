"""What the commands draw: panels, spectrograms, reports."""
