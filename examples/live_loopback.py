"""Send the microphone through the codec to the speaker. Use headphones.

    python live_loopback.py [SECONDS]

Each step takes one chunk, 80 ms of sound. `fcs-edge mic` does the same and more: it follows the
clocks of both devices, drops old sound when the machine is too slow, and records.
"""

from __future__ import annotations

import sys

import numpy as np
import sounddevice

import fcs_edge


def main(seconds: float) -> None:
    """Run for some seconds."""
    codec = fcs_edge.load()
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()

    # The first chunk loads the weights, so send one ahead of opening the devices.
    decoder.push(encoder.push(np.zeros(codec.chunk_size, np.float32)))
    encoder.reset()
    decoder.reset()

    microphone = sounddevice.InputStream(codec.sample_rate_in, channels=1, dtype="float32")
    speaker = sounddevice.OutputStream(codec.sample_rate_out, channels=1, dtype="float32")
    n_late = 0
    with microphone, speaker:
        # One chunk of silence waits at the speaker, in case the next chunk comes late.
        chunk_out = codec.chunk_tokens * codec.samples_out_per_token
        speaker.write(np.zeros((chunk_out, 1), np.float32))
        n_chunks = round(seconds / codec.latency)
        for _ in range(n_chunks):
            samples, _ = microphone.read(codec.chunk_size)  # (chunk_size, 1) float32
            tokens = encoder.push(samples[:, 0])  # (chunk_tokens,) uint16
            n_late += speaker.write(decoder.push(tokens)[:, np.newaxis])
    print(f"{n_chunks} chunks, {n_late} late")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
