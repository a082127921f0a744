"""The vectors of docs/vectors, both readers against them, and against each other."""

import ast
import json
import sys

import damaged_streams
import numpy as np
import pytest
import write_vectors
from fuzz_cases import SEED, TIMES
from prior_cases import drawn
from second_reader import (
    FOLDER,
    first,
    joined,
    module,
    read_fcs,
    second,
    second_prior,
    seen_by_first,
)
from vector_cases import VECTORS
from vector_records import PRIORS

from fcs_edge import bitstream
from fcs_edge.bitstream import protection

read_protected = module("read_protected")
read_salvage = module("read_salvage")
ALL = sorted(path.stem for path in FOLDER.glob("*.fcs"))
PROTECTED = [name for name in ALL if name.startswith("protected-")]
SALVAGE = [name for name in ALL if name.startswith("salvage-")]
NAMES = [name for name in ALL if name not in PROTECTED + SALVAGE]
N_DAMAGED = 2000


def vector(name):
    """Return a vector's bytes, header of the model, names of priors, events and exit code."""
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    fields = facts.get("model")
    model = fields and [*fields[:4], bytes.fromhex(fields[4]), *fields[5:]]
    priors = [name.removesuffix(".prior") for name in facts.get("priors", [])]
    return (FOLDER / f"{name}.fcs").read_bytes(), model, priors, facts["events"], facts["exit"]


def test_the_script_writes_the_files():
    files = write_vectors.files()
    kinds = ("*.fcs", "*.json", "*.prior")
    there = {path.name: path.read_bytes() for kind in kinds for path in FOLDER.glob(kind)}
    assert there.keys() == files.keys()
    assert [name for name in files if there[name] != files[name]] == []
    page = (FOLDER / "README.md").read_text()
    assert write_vectors.page(page) == page
    assert sum(map(len, there.values())) < 500_000
    assert {v.name for v in VECTORS} == set(ALL)


@pytest.mark.parametrize("name", NAMES)
def test_both_readers_give_what_a_vector_states(name):
    data, model, priors, events, code = vector(name)
    header = model and bitstream.Header(*model)
    networks = [PRIORS[name] for name in priors]
    for step in (None, 1, 7):
        assert first(data, header, networks, step) == (seen_by_first(events), code)
    own = [read_fcs.Prior((FOLDER / f"{name}.prior").read_bytes()) for name in priors]
    assert second(data, model and read_fcs.Header(*model), own) == (events, code)


@pytest.mark.parametrize("name", SALVAGE)
def test_both_readers_play_damaged_raw_blocks(name):
    data, _, _, events, code = vector(name)
    assert first(data, salvage=True) == (seen_by_first(events), code)
    assert second(data, reader=read_salvage.Salvager) == (events, code)


@pytest.mark.parametrize("name", PROTECTED)
def test_both_readers_correct_a_protected_file(name):
    pytest.importorskip("reedsolo")
    data, _, _, events, code = vector(name)
    stream, whole = read_protected.unprotected(data)
    assert whole
    assert second(stream) == (events, code)
    with open(FOLDER / f"{name}.fcs", "rb") as file:
        reader = protection.protected(file)
        assert b"".join(iter(lambda: reader.read(65536), b"")) == stream
    assert reader.repairs is not None
    assert reader.repairs.n_failures == 0


def test_what_is_not_protected_is_refused():
    with pytest.raises(ValueError, match="no protected file"):
        read_protected.unprotected((FOLDER / "noise.fcs").read_bytes())


def test_too_much_damage_is_reported():
    data = (FOLDER / "protected-whole.fcs").read_bytes()
    assert read_protected.unprotected(data[:40] + bytes(96) + data[136:])[1] is False


@pytest.mark.parametrize("name", ["read_fcs", "read_protected", "read_salvage"])
def test_the_second_reader_shares_no_code(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert len(text.splitlines()) < 500
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    names = {alias.name for node in imports for alias in node.names}
    sources = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    names |= {node.module for node in sources}
    allowed = sys.stdlib_module_names | ({"read_fcs"} if name == "read_salvage" else set())
    assert {imported.partition(".")[0] for imported in names} <= allowed
    assert all(node.level == 0 for node in sources)
    assert "__import__" not in text
    assert "importlib" not in names


def test_the_second_reader_reads_a_prior_of_512_values():
    prior = drawn(16, 512, 4, spread=6)
    tokens = damaged_streams.speech_like(60, 16, damaged_streams.random.Random(4))
    payload = prior.coder().encode(tokens)
    assert second_prior(prior).decode(payload, [-1] * 60) == tokens.tolist()
    known = np.where(np.arange(60) % 7 < 3, tokens.astype(np.int32), -1)
    payload = prior.coder().encode(tokens, known >= 0)
    assert second_prior(prior).decode(payload, known.tolist()) == tokens.tolist()


def test_the_second_reader_refuses_a_wrong_prior():
    data = (FOLDER / "bits-11.prior").read_bytes()
    for wrong in (b"", data[:-1], data + b"\0", b"\2" + data[1:], data[:1] + b"\21" + data[2:]):
        with pytest.raises(ValueError, match="prior"):
            read_fcs.Prior(wrong)
    with pytest.raises(ValueError, match="too large"):
        read_fcs.Prior(data[:8] + b"\x7f" * (len(data) - 8))


def test_the_second_reader_prints_events(capsys, monkeypatch):
    lines = []
    for name, options in (("prior-11", ["--prior", str(FOLDER / "bits-11.prior")]), ("join", [])):
        path = str(FOLDER / f"{name}.fcs")
        join = ["--join", "11,320,16000,24000"] if name == "join" else []
        monkeypatch.setattr(sys, "argv", ["read_fcs.py", path, *options, *join])
        code = read_fcs.main()
        lines.append((code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]))
    assert (joined(lines[0][1]), lines[0][0]) == (vector("prior-11")[3], 0)
    assert lines[1][0] == 1
    assert lines[1][1][-1] == vector("join")[3][-1]
    monkeypatch.setattr(sys, "argv", ["read_fcs.py", str(FOLDER / "noise.fcs")])
    assert read_fcs.main() == 2
    assert "no .fcs stream" in capsys.readouterr().err


def test_both_readers_agree_on_damaged_streams():
    priors = list(damaged_streams.PRIORS.values())
    own = [second_prior(prior) for prior in priors]
    n_tokens, codes = 0, [0, 0, 0]
    for number in range(N_DAMAGED * TIMES):
        data, model = damaged_streams.case(f"{SEED} {number}")
        events, code = second(data, model, own)
        assert first(data, model, priors) == (seen_by_first(events), code), (SEED, number)
        codes[code] += 1
        n_tokens += sum(len(event[1]) for event in events if event[0] == "tokens")
    assert min(codes) > N_DAMAGED / 20
    assert n_tokens > 30 * N_DAMAGED
