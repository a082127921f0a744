"""Time one chunk, encoded and decoded, in the reference, onnxruntime, NumPy and fcs-edge.

    python scripts/compare.py --reference REPOSITORY --model FILE CHECKPOINT SOUND

All run in turns in one process on one thread, so that other load affects them alike. All caches
and windows are full. The script needs torch 2.5 or later. Without onnxruntime and onnx, their lines
say that they are missing.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import json
import logging
import re
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module, metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import soundfile
import torch
from llvmlite.binding import get_host_cpu_name
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Column, Table
from safetensors.torch import load_file

import fcs_edge
from fcs_edge.modelfile import config_json
from fcs_edge.modelfile.config import SAMPLE_RATE_IN, CodecConfig
from fcs_edge.modelfile.tensor_layout import matrix_shape, tensor_shapes

F32: TypeAlias = NDArray[np.float32]
Output: TypeAlias = tuple[NDArray[Any], F32] | None
"""Tokens and samples of a chunk; None where only products are computed."""
Step: TypeAlias = Callable[[F32], Output]

REWARM = 3
"""Chunks per turn that are not timed, because other contenders emptied the CPU's caches."""
PACKAGES = ("numpy", "torch", "onnxruntime", "onnx", "numba", "fcs-edge")


@dataclass
class Contender:
    """One implementation of a chunk, and its measured times."""

    name: str
    make: Callable[[], Step]
    comparable: bool = True
    """Whether its weights are the checkpoint's; its tokens should then equal the reference's."""
    step: Step | None = None
    note: str = ""
    outputs: list[Output] = field(default_factory=list)
    rounds: list[list[tuple[float, float]]] = field(default_factory=list)
    """Seconds of each timed chunk, and of processor time of all threads, by round."""

    def turn(self, chunks: list[F32], warm_up: int, n: int) -> None:
        """Compute the next chunks, the last n of them timed; at a failure stop for good."""
        times = []
        try:
            self.step = self.step or self.make()
            for _ in range(warm_up + n):
                chunk = chunks[len(self.outputs) % len(chunks)]
                start, start_cpu = time.perf_counter(), time.process_time()
                output = self.step(chunk)
                times.append((time.perf_counter() - start, time.process_time() - start_cpu))
                self.outputs.append(output and (output[0].copy(), output[1].copy()))
            self.rounds.append(times[warm_up:])
        except Exception as error:
            text = (str(error).strip() or "no message").splitlines()[0]
            self.step, self.note = None, f"{type(error).__name__}: {text[:200]}"

    def result(self, eager: "Contender", config: CodecConfig) -> dict[str, Any]:
        """Return what was measured, for the table and for JSON."""
        if not self.step:
            return {"name": self.name, "note": self.note}
        times, cpu = np.moveaxis(1e3 * np.array(self.rounds), 2, 0)
        median, by_round = float(np.median(times)), np.median(times, axis=1).tolist()
        out: dict[str, Any] = {
            "name": self.name,
            "note": "" if self.comparable else "other weights",
            "median_ms": median,
            "round_medians_ms": by_round,
            "min_round_ms": min(by_round),
            "max_round_ms": max(by_round),
            "p99_ms": float(np.percentile(times, 99)),
            "cpu_ms": float(np.median(cpu)),
            "real_time_factor": median / (1e3 * config.chunk_size / SAMPLE_RATE_IN),
            "speed_to_eager": 1e3 * float(np.median(np.array(eager.rounds)[..., 0])) / median,
        }
        pairs = [(a, b) for a, b in zip(self.outputs, eager.outputs, strict=True) if a and b]
        if pairs and self.comparable:
            different = np.concatenate([a[0].astype(np.int64) ^ b[0] for a, b in pairs])
            bits = different[:, None] >> np.arange(config.bits_per_token) & 1
            out["tokens_equal"] = float((different == 0).mean())
            out["bits_equal"] = float(1 - bits.mean())
            out["sample_difference"] = max(float(np.abs(a[1] - b[1]).max()) for a, b in pairs)
        return out


class Torch:
    """The reference, or its TorchScript version."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self.state: list[Any] = []

    def __call__(self, chunk: F32) -> Output:
        """Compute a chunk."""
        with torch.inference_mode():
            signal = torch.from_numpy(chunk)[None]
            tokens, _, samples, *self.state = self._model(signal, *self.state, return_state=True)
        return tokens[0].numpy(), samples[0].numpy()


class OnnxRuntime:
    """A streaming export of the reference; its states go from outputs to inputs uncopied.

    It has no empty state, so the reference computes the first chunk and the state after it.
    """

    def __init__(self, path: Path, model: torch.nn.Module) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self._value = onnxruntime.OrtValue.ortvalue_from_numpy
        self._inputs = [x.name for x in self._session.get_inputs()]
        self._outputs = [x.name for x in self._session.get_outputs()]
        self._model = model
        self._state: list[Any] = []

    def __call__(self, chunk: F32) -> Output:
        """Compute a chunk."""
        if not self._state:
            first = Torch(self._model)
            output = first(chunk)
            self._state = [self._value(tensor.numpy().copy()) for tensor in flat(first.state)]
            return output
        feeds = zip(self._inputs, [self._value(chunk[None]), *self._state], strict=True)
        outputs = self._session.run_with_ort_values(self._outputs, dict(feeds))
        tokens, _, samples, *self._state = outputs
        return tokens.numpy()[0], samples.numpy()[0]


def flat(tree: Any) -> list[torch.Tensor]:
    """Return the tensors of nested lists and tuples, in the order of the reference's export."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [tensor for part in tree for tensor in flat(part)]


def fcs_stream(codec: fcs_edge.Codec) -> Step:
    """Return the step of a stream encoder and a stream decoder."""
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    return lambda chunk: (tokens := encoder.push(chunk), decoder.push(tokens))


def numpy_products(config: CodecConfig) -> Step:
    """Return a step of all products with weights of the checkpoint's shapes, and nothing else."""
    pairs = [
        (np.ones((rows, depth), np.float32), np.full((outputs, depth), 0.01, np.float32))
        for rows, outputs, depth in products(config)
    ]

    def step(chunk: F32) -> None:
        for x, weight in pairs:
            x @ weight.T

    return step


def products(config: CodecConfig) -> Iterator[tuple[int, int, int]]:
    """Yield rows, outputs and depth of each product with a weight, for one chunk.

    Convolutions count as products of their windows; depthwise ones, and attention's products of
    activations, are left out.
    """
    rows = config.chunk_size
    for name, shape in tensor_shapes(config).items():
        matrix = matrix_shape(name, shape)
        if matrix is None:
            continue
        outputs, depth = matrix
        layer = int((re.findall(r"layers\.(\d+)", name) or [0])[0])
        if ".feature_extractor." in name:
            rows //= config.encoder.strides[layer]
        elif ".downscale." in name:
            rows //= config.compressor.downscale_factors[layer]
        if ".positional_embedding." in name:
            groups = config.encoder.conv_pos_groups
            yield from [(rows, outputs // groups, depth)] * groups
        elif ".refiner." in name:
            yield rows // config.decompressor.chunk_frames, outputs, depth
        else:
            yield rows, outputs, depth
        if ".upscale." in name:
            rows *= config.decompressor.upscale_factors[layer]


def load_reference(repository: Path, checkpoint: Path) -> Any:
    """Return the reference's model with a checkpoint's weights."""
    sys.path.insert(0, str(repository))
    focalcodec = import_module("focalcodec.codec")
    config = json.loads((checkpoint / "config.json").read_text())
    model = focalcodec.FocalCodec(
        **{k: v for k, v in config.items() if k.endswith(("_name", "_config"))}
    )
    model.load_state_dict(load_file(checkpoint / "model.safetensors"))
    return model.eval()


def script(model: Any) -> Any:
    """Return the reference with its five parts in TorchScript; one that cannot be is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="Failed to JIT compile")
        return model.jit()


def export(repository: Path, checkpoint: Path, path: Path) -> None:
    """Write the reference's streaming export; it asks for what only the older exporter can do."""
    warnings.simplefilter("ignore")
    model = load_reference(repository, checkpoint)
    size = {"batch_size": 1, "chunk_size": model.chunk_size}
    with torch.no_grad():
        model.onnx(str(path), return_state=True, dynamo=False, **size)


def quantize(source: Path, path: Path) -> None:
    """Write an export with int8 weights, but for convolutions, which int8 makes slower."""
    from onnxruntime.quantization import quantize_dynamic

    logging.disable()
    quantize_dynamic(source, path, op_types_to_quantize=["MatMul", "Gemm"])


def written(path: Path, write: Callable[..., None], *arguments: Path) -> Path:
    """Write a file if it does not exist, in a process of its own, whose memory is then free."""
    if not path.exists():
        part = path.with_suffix(".part")
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(write, *arguments, part).result()
        part.replace(path)
    return path


def read_chunks(path: Path, config: CodecConfig) -> list[F32]:
    """Return the whole chunks of a sound file."""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != SAMPLE_RATE_IN or sound.shape[1] != 1 or len(sound) < config.chunk_size:
        sys.exit(f"{path}: mono sound at {SAMPLE_RATE_IN} Hz is expected, a chunk or more")
    n = len(sound) // config.chunk_size
    return list(sound[: n * config.chunk_size].reshape(n, -1))


def contenders(args: argparse.Namespace, work: Path, config: CodecConfig) -> list[Contender]:
    """Return the contenders, the reference in PyTorch first; ONNX files are written to `work`."""
    checkpoint = args.checkpoint.resolve()
    model = load_reference(args.reference, checkpoint)

    def exported() -> Path:
        path = work / f"{checkpoint.name}-float32.onnx"
        return written(path, export, args.reference, checkpoint)

    def quantized() -> Path:
        return written(work / f"{checkpoint.name}-int8.onnx", quantize, exported())

    out = [
        Contender("PyTorch eager", lambda: Torch(model)),
        Contender("TorchScript", lambda: Torch(script(model))),
        Contender("onnxruntime float32", lambda: OnnxRuntime(exported(), model)),
        Contender("onnxruntime dynamic int8", lambda: OnnxRuntime(quantized(), model)),
        Contender("NumPy products alone", lambda: numpy_products(config)),
    ]
    for path in args.model:
        codec, bias = fcs_edge.load(path), "compressor.out_proj.bias"
        same = codec.model.config == config and np.allclose(
            codec.model.tensors[bias], model.state_dict()[bias], 2e-3, 1e-4
        )
        out.append(Contender(f"fcs-edge {path.stem}", partial(fcs_stream, codec), same))
    return out


def compare(args: argparse.Namespace, work: Path) -> None:
    """Measure, print the table and write the JSON."""
    torch.set_num_threads(1)
    config = config_json.from_dict(json.loads((args.checkpoint / "config.json").read_text()))
    chunks = read_chunks(args.sound, config)
    compared = contenders(args, work, config)
    eager = compared[0]
    windows = config.encoder.window_size, config.compressor.window_size
    fill = max(*windows, *config.decompressor.window_sizes) // config.chunk_tokens + 2
    for i in range(args.rounds):
        for contender in compared:
            if not contender.note:
                print(f"round {i + 1} of {args.rounds}: {contender.name}", file=sys.stderr)
                contender.turn(chunks, REWARM if i else fill, args.chunks)
    if not eager.step:
        sys.exit(f"the reference does not run: {eager.note}")
    results = [contender.result(eager, config) for contender in compared]
    versions = {d.name: d.version for d in metadata.distributions() if d.name in PACKAGES}
    show(results, versions)
    if args.json:
        facts = {
            "processor": get_host_cpu_name(),
            "packages": versions,
            "chunks_a_round": args.chunks,
        }
        args.json.write_text(json.dumps(facts | {"contenders": results}, indent=2) + "\n")


def show(results: list[dict[str, Any]], versions: dict[str, str]) -> None:
    """Print the table."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    notes = [f"{r['name']}: {r['note']}" for r in results if r["note"]]
    packages = ", ".join(map(" ".join, versions.items()))
    caption = "\n".join([*notes, f"{get_host_cpu_name()}; {packages}; memory {peak:.1f} GiB"])
    keys = [k for k, v in results[0].items() if k not in ("name", "note", "round_medians_ms")]
    heads = [key.replace("_", " ") for key in keys]
    table = Table(Column("one chunk, one thread", no_wrap=True), *heads, caption=caption)
    for r in results:
        table.add_row(r["name"], *(f"{r[key]:.4g}" if key in r else "" for key in keys))
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder with config.json and model.safetensors")
    add("sound", type=Path, help="speech, mono, 16 kHz; repeated where it is short")
    add("--reference", type=Path, required=True, help="folder that holds the package focalcodec")
    add("--model", type=Path, action="append", default=[], help="model file; may be repeated")
    add("--work", type=Path, help="folder where ONNX files are kept, and taken from")
    add("--rounds", type=int, default=5, help="turns of each contender (default: 5)")
    add("--chunks", type=int, default=40, help="timed chunks a turn (default: 40)")
    add("--json", type=Path, help="file to write the results to")
    return parser.parse_args()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        options = arguments()
        compare(options, options.work or Path(temporary))
