"""Priors in model files: written, read, checked, taken along by conversions."""

from pathlib import Path

import fuzz_models
import numpy as np
import prior_cases
import pytest

from fcs_edge import BitstreamError, ModelFileError
from fcs_edge.codec import Codec
from fcs_edge.convert import convert, write_model
from fcs_edge.modelfile import model_file
from fcs_edge.modelfile.model_file import ModelFile
from fcs_edge.modelfile.tensor_file import TensorFileWriter, TensorSpec
from fcs_edge.modelfile.tensors import header, map_tensors
from fcs_edge.tokens.event_decoder import check_fingerprint


@pytest.fixture
def plain(tmp_path: Path) -> ModelFile:
    tensors = fuzz_models.drawn(fuzz_models.SMALL, 0)
    return write_model(tmp_path / "plain.safetensors", fuzz_models.SMALL, tensors, "x", "y", "f32")


@pytest.fixture
def two(plain: ModelFile, tmp_path: Path) -> ModelFile:
    path = tmp_path / "two.safetensors"
    priors = [prior_cases.drawn(4, 8, seed) for seed in (0, 1)]
    model_file.write_with_priors(path, plain, priors)
    return model_file.read(path)


def rewritten(source: Path, path: Path, change: dict[str, object]) -> Path:
    """Write a model file with other metadata (strings) and tensors (arrays; None is left out)."""
    _, metadata, _ = header(source)
    tensors = {name: tensor.data for name, tensor in map_tensors(source)[1].items()}
    for key, value in change.items():
        (metadata if isinstance(value, str) else tensors)[key] = value
    arrays = {name: array for name, array in tensors.items() if array is not None}
    with path.open("w+b") as file:
        specs = {name: TensorSpec(array.dtype, array.shape) for name, array in arrays.items()}
        writer = TensorFileWriter(file, specs, metadata)
        for name, array in arrays.items():
            writer.write(name, array)
    return path


def test_priors_come_back_with_the_newest_last(plain: ModelFile, two: ModelFile) -> None:
    assert [prior.check for prior in two.priors] == [
        prior_cases.drawn(4, 8, seed).check for seed in (0, 1)
    ]
    two.verify()
    codec = Codec(two)
    assert codec.prior is two.priors[1]
    assert list(codec.priors) == [prior.check for prior in two.priors]
    assert header(two.path)[1]["format_version"] == "3"
    assert two.fingerprint == plain.fingerprint
    assert two.sha256 != plain.sha256
    assert set(two.tensors) == set(plain.tensors)


def test_a_model_without_priors_is_the_same_file(plain: ModelFile, two: ModelFile) -> None:
    path = two.path.with_name("again.safetensors")
    model_file.write_with_priors(path, two, [])
    assert path.read_bytes() == plain.path.read_bytes()
    assert header(path)[1]["format_version"] == "1"
    assert Codec(plain).prior is None
    assert not Codec(plain).priors


@pytest.mark.parametrize("scheme", ["f16", "int8", "int4"])
def test_conversion_takes_priors_along(two: ModelFile, scheme: str, tmp_path: Path) -> None:
    accepted = rewritten(
        two.path, tmp_path / "accepts.safetensors", {"accepts": "0123456789abcdef"}
    )
    model = convert(accepted, tmp_path / f"{scheme}.safetensors", weights=scheme)
    assert [prior.check for prior in model.priors] == [prior.check for prior in two.priors]
    assert model.accepts == (bytes.fromhex("0123456789abcdef"),)
    assert model.scheme == scheme
    model.verify()


def test_a_changed_prior_is_found(two: ModelFile, tmp_path: Path) -> None:
    changed = np.array(two.priors[0].context)
    changed[3, 2] += 1
    path = rewritten(two.path, tmp_path / "bad.safetensors", {"prior.0.context": changed})
    with pytest.raises(ModelFileError, match="damaged: the check of prior 0 is"):
        model_file.read(path)


def full(value: int, dtype: type, *shape: int) -> np.ndarray:
    return np.full(shape, value, dtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior.0.bias": None}, "prior.0.bias is missing"),
        ({"prior.2.bias": full(0, np.int16, 8)}, "unexpected tensor prior.2.bias"),
        ({"prior.0.other": full(0, np.int16, 8)}, "unexpected tensor prior.0.other"),
        ({"prior.0.bias": full(0, np.int8, 8)}, "bias is int8"),
        ({"prior.0.bias": full(0, np.int16, 9)}, r"bias is int16 \(9,\)"),
        ({"prior.0.output": full(0, np.int8, 0, 0)}, "1..16 bits"),
        ({"prior.0.output": full(0, np.int8, 8)}, "two dimensions"),
        ({"prior.0.step": full(-128, np.int8, 4, 8)}, "step has -128"),
        ({"prior.0.bias": full(32767, np.int16, 8)}, "beyond 32767"),
        ({"priors": "00000000"}, "unexpected tensor prior.1"),
        ({"priors": "00000000 00000000 00000000"}, "prior.2.context is missing"),
        ({"priors": ""}, r"damaged metadata \(priors ''\)"),
        ({"priors": "x"}, "damaged metadata"),
        ({"accepts": "0123"}, "an accepted fingerprint is not 8 bytes"),
        ({"accepts": "0123456789abcdeg"}, "damaged metadata"),
    ],
)
def test_refused(two: ModelFile, change: dict[str, object], message: str, tmp_path: Path) -> None:
    path = rewritten(two.path, tmp_path / "bad.safetensors", change)
    with pytest.raises(ModelFileError, match=message) as caught:
        model_file.read(path)
    assert "\n" not in str(caught.value)


def test_a_prior_of_other_bits_is_refused(plain: ModelFile, tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    model_file.write_with_priors(path, plain, [prior_cases.drawn(5, 8, 0)])
    with pytest.raises(ModelFileError, match=r"prior\.0 is for tokens of 5 bits, not 4"):
        model_file.read(path)


def test_tokens_of_accepted_models_are_accepted(two: ModelFile, tmp_path: Path) -> None:
    listed, other = bytes(range(8)), bytes(8)
    change = {"accepts": f"{listed.hex()} {bytes(range(1, 9)).hex()}"}
    codec = Codec(model_file.read(rewritten(two.path, tmp_path / "a.safetensors", change)))
    for fingerprint in (listed, bytes(range(1, 9)), codec.fingerprint):
        check_fingerprint(fingerprint, codec, any_model=False)
    with pytest.raises(BitstreamError, match="another model"):
        check_fingerprint(other, codec, any_model=False)
