"""Print fingerprints of tokens and samples, which must be equal on every CPU.

    python scripts/fingerprints.py [--check | --write] [--aot] [--each]

A second of speech goes through the built-in model and a small one with each kind of weights,
whole and as a stream in odd pieces. `--check` compares with tests/data/fingerprints.json, and exits
with 1 where one differs. `--write` replaces that file, after a change of the arithmetic.

FCS_EDGE_KERNELS chooses the instruction set, and `--each` uses all that this CPU has libraries for.
`--aot` refuses kernels that Numba compiles. fcs-edge must be installed, or be a checkout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from safetensors.numpy import save_file

import fcs_edge
from fcs_edge.convert import convert
from fcs_edge.kernels.isa import instructions, targets
from fcs_edge.kernels.runtime import _jit
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.tensor_layout import tensor_shapes

sys.path.append(str(Path(__file__).parent))
from make_checkpoint import make

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
FILE = DATA / "fingerprints.json"

WEIGHTS = "f32", "f16", "int8", "int4"
WHOLE = {"whole": "f32", "mixed": "int8"}
"""Weights of the models that encode a whole signal."""
NOISY = {"noisy": "int8"}
"""Weights of the model whose decoder reads noise, and whose rows of samples overlap."""
GOLDEN = {"small": "tiny", "whole": "nc_25", "mixed": "causal_vocos", "noisy": "tiny"}
"""The golden cases that the small models come from."""
ACTIVATIONS = {"int8 by 8 bits": 8}
"""Bits of activations, where they are not the default of the weights."""
FIRST, SAMPLES = 24000, 17000
"""Of the clip: speech of 13 chunks, the last one cut."""
PIECES = 1, 1279, 320, 5000, 0, 2561
"""Samples that a stream is given at a time."""

Fingerprints = dict[str, dict[str, str]]


def small_config(name: str) -> dict[str, Any]:
    """Return a golden model's configuration, with sizes that libraries have kernels for.

    Heads have 24 columns: more than any register, and no multiple of 16. A feed-forward network is
    deeper than a block of sums. The model "mixed" is one whose decoder alone is causal. Sizes of
    "noisy" are no multiples of a register.
    """
    case = json.loads((DATA / "golden" / f"{GOLDEN[name]}.json").read_text())
    config: dict[str, Any] = case["config"]
    config["encoder_config"]["num_heads"] = 2
    config["decoder_config"]["ffn_dim"] = 1100
    if name in NOISY:
        config["decoder_config"] |= {"noise_channels": 13, "win_length": 787}
    if name == "mixed":
        config["encoder_config"]["causal"] = config["compressor_config"]["causal"] = False
    return config


def checkpoint(name: str, folder: Path) -> Path:
    """Write a small model's checkpoint."""
    config = small_config(name)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    shapes = tensor_shapes(config_json.from_dict(config))
    params = {name: list(shape) for name, shape in shapes.items()}
    # Of the small model, only the decoder is another one: its tokens would be the same.
    seed = 5 if name in NOISY else 4
    save_file(make({"seed": seed, "params": params}), folder / "model.safetensors")
    return folder


def models(folder: Path) -> dict[str, Path | None]:
    """Write the small models into a folder; return all models by name, None for the built-in."""
    source = checkpoint("small", folder / "checkpoint")
    paths: dict[str, Path | None] = {"edge-65k": None}
    for weights in WEIGHTS:
        paths[weights] = path = folder / f"{weights}.safetensors"
        convert(source, path, weights, weights)
    for name, weights in (WHOLE | NOISY).items():
        paths[name] = path = folder / f"{name}.safetensors"
        convert(checkpoint(name, folder / name), path, name, weights)
    return paths | dict.fromkeys(ACTIVATIONS, paths["int8"])


def speech() -> NDArray[np.float32]:
    """Return a second of speech, float32 at 16 kHz."""
    signal, _ = soundfile.read(DATA / "251-118436-0003.flac", dtype="float32")
    part: NDArray[np.float32] = signal[FIRST : FIRST + SAMPLES]
    return part


def fingerprint(array: NDArray[Any]) -> str:
    """Return the start of the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def streamed(codec: fcs_edge.Codec, signal: NDArray[np.float32]) -> tuple[Any, Any]:
    """Return tokens and samples of a stream that is given odd pieces."""
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    tokens, samples, at = [], [], 0
    while at < signal.size:
        for n in PIECES:
            tokens.append(encoder.push(signal[at : at + n]))
            samples.append(decoder.push(tokens[-1]))
            at += n
    tokens.append(encoder.flush())
    samples += [decoder.push(tokens[-1]), decoder.flush()]
    return np.concatenate(tokens), np.concatenate(samples)


def of(model: Path | None, activations: int | None = None) -> dict[str, str]:
    """Return the fingerprints of a model, of its tokens and of the samples that they decode to."""
    codec, signal = fcs_edge.load(model or "edge-65k", activations=activations), speech()
    tokens = codec.encode(signal)
    samples = codec.decode(tokens)
    found = {"model": codec.fingerprint.hex(), "tokens": fingerprint(tokens)}
    found["samples"] = fingerprint(samples)
    if not codec.encodes_streams:
        return found
    stream: dict[str, Any] = dict(zip(("tokens", "samples"), streamed(codec, signal), strict=True))
    # A stream whose bits differ has words of its own, which no file expects.
    for name, part in stream.items():
        if fingerprint(part) != found[name]:
            found[f"streamed {name}"] = fingerprint(part)
    return found


def expected() -> Fingerprints:
    """Return the fingerprints that tests/data holds."""
    read: Fingerprints = json.loads(FILE.read_text())
    return read


def each(arguments: list[str]) -> int:
    """Run this for each set that a library is built for; return how many runs failed."""
    names = {target.using.name for target in targets.TARGETS}
    failed = 0
    for using in instructions.supported():
        if using.name in names:
            environment = {**os.environ, instructions.VARIABLE: using.name}
            command = [sys.executable, __file__, *arguments]
            failed += subprocess.run(command, env=environment, check=False).returncode != 0
    return failed


def main() -> None:
    """Print them, and check or write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="compare with tests/data")
    action.add_argument("--write", action="store_true", help="replace those of tests/data")
    parser.add_argument("--aot", action="store_true", help="fail where Numba compiles")
    parser.add_argument("--each", action="store_true", help="run for each set with a library")
    options = parser.parse_args()
    if options.each:
        sys.exit(min(each([a for a in sys.argv[1:] if a != "--each"]), 1))
    with tempfile.TemporaryDirectory() as folder:
        named = models(Path(folder)).items()
        found = {name: of(model, ACTIVATIONS.get(name)) for name, model in named}
    text = json.dumps(found, indent=2)
    if options.write:
        FILE.write_text(text + "\n")
    different = [n for n in found if options.check and found[n] != expected().get(n)]
    if different or not options.check:
        print(text)
    by = "Numba" if _jit.uses_numba() else "a library"
    print(f"fingerprints: {', '.join(found)}, {instructions.CHOICE}, compiled by {by}")
    if options.aot and _jit.uses_numba():
        sys.exit("fingerprints: no library has these kernels")
    if different:
        sys.exit(f"fingerprints: {', '.join(different)} differ from {FILE.name}")


if __name__ == "__main__":
    main()
