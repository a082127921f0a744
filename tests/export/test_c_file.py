"""`fcs_file.h` alone: what the vectors state, and the bytes of the Python writer."""

import ctypes
import io
import json
import random
import re
import subprocess
from dataclasses import replace
from fractions import Fraction

import c_file
import damaged_streams
import numpy as np
import pytest
from prior_cases import drawn, filled
from second_reader import FOLDER, first, seen_by_first
from vector_records import PRIORS, prior_bytes

import native_tools
from fcs_edge import codec
from fcs_edge.bitstream import BitstreamWriter, Header
from fcs_edge.entropy import neutral_coder
from fcs_edge.tokens.fcs import fcs_writer, header_of

VECTORS = sorted(path.stem for path in FOLDER.glob("*.fcs"))
NAMES = [name for name in VECTORS if not name.startswith(("protected-", "salvage-"))]
NETWORKS = {
    bits: drawn(bits, hidden, 7) for bits, hidden in ((1, 3), (11, 64), (12, 33), (16, 512))
}
REFUSED = {
    "empty": -121,
    "noise": -122,
    "end-alone": -122,
    "no-header": -122,
    "version-1": -123,
    "version-3": -124,
    "newer-flags": -124,
    "newer-rates": -124,
    "header-short": -125,
    "protected-whole": -128,
    "protected-bits": -128,
    "protected-cell-out": -128,
    "protected-noise": -128,
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return c_file.build(tmp_path_factory.mktemp("c_file"))


def file_header(bits, network=None, **fields):
    check = network.check if network is not None else 0
    return Header(bits, 320, 16000, 24000, b"8 bytes!", prior=check, **fields)


def drawn_tokens(count, bits, seed):
    """Return tokens of which half are like speech, and half any."""
    rng = random.Random(f"{count} {bits} {seed}")
    few = damaged_streams.speech_like(count // 2, bits, rng)
    rest = [rng.getrandbits(bits) for _ in range(count - count // 2)]
    return np.concatenate([few, np.array(rest, np.uint16)])


def by_python(header, tokens, n_samples, **options):
    file = io.BytesIO()
    writer = BitstreamWriter(file, header, **options)
    writer.write(tokens)
    writer.close(n_samples)
    return file.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_gives_what_a_vector_states(library, name):
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    fields = facts.get("model")
    model = fields and Header(*fields[:4], bytes.fromhex(fields[4]), *fields[5:])
    networks = [PRIORS[prior.removesuffix(".prior")] for prior in facts.get("priors", [])]
    data = (FOLDER / f"{name}.fcs").read_bytes()
    for step in (None, 1, 7):
        stated = seen_by_first(facts["events"]), facts["exit"]
        assert c_file.read(library, data, model, networks, step) == stated


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_why(library, name):
    data = (FOLDER / f"{name}.fcs").read_bytes()
    [(kind, event)] = c_file.raw_events(library, data)
    assert (kind, event.code) == (REFUSED[name], REFUSED[name])
    assert library.fcs_file_text(kind) != library.fcs_file_text(1)


def test_damaged_raw_blocks_are_silence(library):
    for name in VECTORS:
        if name.startswith("salvage-"):
            data = (FOLDER / f"{name}.fcs").read_bytes()
            assert c_file.read(library, data) == first(data)


@pytest.mark.parametrize("coding", ["prior", "neutral", "raw", "live"])
@pytest.mark.parametrize("bits", NETWORKS)
def test_the_writer_gives_the_bytes_of_the_python_writer(library, bits, coding):
    network = NETWORKS[bits] if coding == "prior" else None
    header = file_header(bits, network)
    for seed, count in enumerate([0, 1, 3, 50, 99, 100, 101, 230, 355]):
        tokens = drawn_tokens(count, bits, seed)
        block = [100, 50, 200, 255, 17][seed % 5]
        chunk = [4, 1, 8, 255][seed % 4]
        python = {"block_tokens": block, "coder": network.coder() if network else None}
        own = {"block_tokens": block, "network": network, "raw": coding == "raw"}
        if coding == "live":
            python, own = {"eager": True, "chunk_tokens": chunk}, {"live_tokens": chunk}
        n_samples = max(0, count * 320 - seed)
        expected = by_python(header, tokens, n_samples, raw=coding == "raw", **python)
        pieces = [count // 3, 0, count - count // 3]
        assert c_file.write(library, header, tokens, n_samples, pieces=pieces, **own) == expected
        networks = [network] if network else []
        for live in (False, True):
            events, code = c_file.read(library, expected, None, networks, 5, live)
            assert code == 0
            stored = [token for kind, *event in events if kind == "tokens" for token in event[0]]
            assert stored[:count] == tokens.tolist()


def test_the_writer_repeats_the_header(library):
    header = replace(file_header(11), samples_per_token=1280)
    for live in (0, 4):
        tokens = drawn_tokens(2000, 11, live)
        options = {"eager": True} if live else {}
        data = by_python(header, tokens, 1, **options)
        assert c_file.write(library, header, tokens, 1, live_tokens=live) == data
        assert data.count(b"FCS\x1a") == (12 if live else 3)


@pytest.mark.parametrize("code", range(7))
def test_the_writer_gives_all_headers(library, code):
    rates = [(160, 8000, 11025), *((n, 16000, r) for r in (24000, 16000) for n in (320, 640, 1280))]
    fields = rates[code]
    header = Header(9, *fields, bytes(range(8)), settings=0x8000 | code)
    data = by_python(header, drawn_tokens(5, 9, 0), fields[0] * 6)
    assert c_file.write(library, header, drawn_tokens(5, 9, 0), fields[0] * 6) == data
    assert c_file.read(library, data)[0][0] == [
        "header", 9, *fields, header.fingerprint.hex(), 0, 0x8000 | code
    ]  # fmt: skip


def test_the_writer_gives_the_metadata_of_the_python_writer(library):
    tags = {"title": "x" * 3000, "k": "ü€", "comment": "y" * 2000, "a_-9": "", "z": "w" * 4094}
    data = by_python(file_header(11), np.zeros(1, np.uint16), 320, tags=tags)
    written = c_file.write(library, file_header(11), np.zeros(1), 320, tags=list(tags.items()))
    assert written == data
    read = [event[1] for event in c_file.read(library, data)[0] if event[0] == "metadata"]
    assert {key: value for some in read for key, value in some.items()} == tags


def test_a_file_of_the_built_in_model_is_that_of_the_python_writer(library):
    model = codec.load()
    tokens = drawn_tokens(700, model.bits_per_token, 3)
    n_samples = tokens.size * model.samples_per_token - 5
    file = io.BytesIO()
    writer = fcs_writer(file, model)
    writer.write(tokens)
    writer.close(n_samples)
    own = c_file.write(library, header_of(model), tokens, n_samples, network=model.prior)
    assert own == file.getvalue()
    assert c_file.read(library, own, None, list(model.priors.values()))[1] == 0


@pytest.mark.parametrize("bits", [1, 2, 8, 11, 12, 16])
def test_the_coders_give_the_bytes_and_tokens_of_the_python_coders(library, bits):
    networks = [None, drawn(bits, 40, 1), drawn(bits, 1, 2), filled(bits, 2, -9)]
    for number, network in enumerate(networks):
        coder = neutral_coder(bits) if network is None else network.coder()
        priors = c_file.priors_of(library, [network] if network else [])
        prior = ctypes.byref(priors[0]) if network else None
        for count in (1, 2, 9, 100, 700):
            tokens = drawn_tokens(count, bits, number)
            data, room = coder.encode(tokens), ctypes.create_string_buffer(64 * count)
            arguments = prior, bits, tokens.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(count)
            size = library.fcs_code_tokens(*arguments, room, ctypes.c_size_t(len(room)))
            assert room.raw[:size] == data
            short = ctypes.create_string_buffer(len(data))
            limit = ctypes.c_size_t(len(data) // 2)
            assert library.fcs_code_tokens(*arguments, short, limit) == len(data)
            assert short.raw == data[: len(data) // 2].ljust(len(data), b"\0")
            noise = random.Random(f"{bits} {count}").randbytes(count)
            for coded in (data, noise, b""):
                found = np.ones(count, np.uint16)
                library.fcs_decode_tokens(
                    prior, bits, coded, ctypes.c_size_t(len(coded)),
                    found.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(count),
                )  # fmt: skip
                assert found.tolist() == coder.decode(coded, count).tolist()


def test_a_wrong_prior_is_refused(library):
    def opened(data):
        return library.fcs_prior_open(
            ctypes.byref(c_file.Prior()), data, ctypes.c_size_t(len(data))
        )

    data = (FOLDER / "bits-11.prior").read_bytes()
    assert opened(data) == 0
    assert opened(prior_bytes(drawn(16, 512, 1))) == 0
    assert opened(prior_bytes(filled(16, 512, 9))) == 0
    too_large = data[:8] + b"\x7f" * (len(data) - 8)
    hidden = data[:2] + b"\x01\x02" + data[4:]
    least = data[:20] + b"\x80" + data[21:]
    wrong = [b"", data[:7], data[:8], data[:-1], data + b"\0", b"\2" + data[1:], hidden, least]
    wrong += [data[:1] + b"\21" + data[2:], data[:1] + b"\0" + data[2:], too_large]
    wrong += [data[:4] + bytes([data[4] ^ 1]) + data[5:], data[:2] + b"\0\0" + data[4:]]
    assert [opened(one) for one in wrong] == [-107] * len(wrong)


def test_a_part_of_another_model_is_refused(library):
    model = c_file.header_of(file_header(11))
    other = c_file.header_of(replace(file_header(11), fingerprint=b"other!!!"))

    def checked(part, *accepts):
        count = ctypes.c_size_t(len(accepts))
        return library.fcs_file_check(
            ctypes.byref(part), ctypes.byref(model), b"".join(accepts), count
        )

    assert checked(model) == 0
    assert checked(other) == -131
    assert checked(other, b"another!", b"other!!!") == 0
    assert checked(other, b"another!") == -131
    for fields in ({"bits": 12}, {"samples_per_token": 640}, {"input_rate": 8000}):
        assert checked(c_file.header_of(replace(file_header(11), **fields))) == -132
    assert checked(c_file.header_of(replace(file_header(11), output_rate=8000))) == 0


def test_output_samples_round_halves_to_even(library):
    rng = random.Random(1)
    for rate_in, rate_out in ((16000, 24000), (16000, 16000), (8000, 11025), (0xFFFFFF, 1), (1, 7)):
        header = c_file.header_of(Header(11, 320, rate_in, rate_out, bytes(8)))
        for n in [0, 1, 2, 3, (1 << 40) - 1, *(rng.getrandbits(40) for _ in range(50))]:
            expected = round(Fraction(n * rate_out, rate_in))
            assert library.fcs_file_output_samples(ctypes.byref(header), n) == expected


def started(library, header=None, **options):
    """Return a writer into 100 bytes of memory, the buffer and the code of the start."""
    room = (ctypes.c_uint8 * 100)()
    buffer = c_file.Buffer(room, 100, 0)
    buffer.room = room
    writer = ctypes.create_string_buffer(library.writer_size)
    own, how = c_file.header_of(header or file_header(11)), c_file.WriterOptions(**options)
    return writer, buffer, library.fcs_writer_init(
        writer, ctypes.byref(own), ctypes.byref(how), None, ctypes.byref(buffer)
    )  # fmt: skip


def test_wrong_calls_of_the_writer_are_refused(library):
    writer, buffer, code = started(library)
    assert (code, buffer.size) == (0, 19)
    tokens = np.array([1, 2048], np.uint16)
    assert library.fcs_writer_put(writer, tokens.ctypes.data, 2) == -102
    assert library.fcs_writer_put(writer, tokens.ctypes.data, 1) == 0
    assert library.fcs_writer_close(writer, 321) == -103
    assert buffer.size == 19
    assert library.fcs_writer_close(writer, 320) == 0
    assert library.fcs_writer_put(writer, tokens.ctypes.data, 1) == -105
    stored = bytes(buffer.bytes[: buffer.size])
    assert stored == by_python(file_header(11), tokens[:1], 320)
    tags = (c_file.Tag * 2)(c_file.Tag(b"Title", b"x"), c_file.Tag(b"a", b"b" * 4095))
    assert started(library, tags=tags, n_tags=1)[2] == -104
    assert started(library, tags=ctypes.pointer(tags[1]), n_tags=1)[2] == -104
    assert started(library, block_tokens=256)[2] == -101
    priors = c_file.priors_of(library, [NETWORKS[12]])
    assert started(library, prior=ctypes.pointer(priors[0]))[2] == -107


def test_a_full_buffer_closes_the_writer(library):
    writer, buffer, _ = started(library)
    tokens = np.zeros(4000, np.uint16)
    rng = np.random.default_rng(1).integers(0, 2048, 4000, dtype=np.uint16)
    assert library.fcs_writer_put(writer, tokens.ctypes.data, 99) == 0
    assert library.fcs_writer_put(writer, rng.ctypes.data, 4000) == -106
    assert buffer.size <= 100
    assert library.fcs_writer_close(writer, 0) == -105


def test_what_takes_the_bytes_may_fail(library):
    @c_file.WRITE
    def fail(_context, _data, _size):
        return 77

    writer = ctypes.create_string_buffer(library.writer_size)
    own = c_file.header_of(file_header(11))
    assert library.fcs_writer_init(writer, ctypes.byref(own), None, fail, None) == 77
    assert library.fcs_writer_close(writer, 0) == -105


@pytest.mark.parametrize("compiler", ["clang -std=c99", "g++ -std=c++11"])
def test_the_header_compiles_without_a_warning_and_needs_two_functions(tmp_path, compiler):
    name, standard = compiler.split()
    source = tmp_path / ("file.cpp" if name == "g++" else "file.c")
    source.write_text(c_file.SOURCE)
    command = [native_tools.needed(name), standard, "-O1", "-c", source, "-o", tmp_path / "file.o"]
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", f"-I{c_file.NATIVE}"]
    subprocess.run([*command, *strict], check=True)
    missing = [native_tools.needed("nm"), "-u", tmp_path / "file.o"]
    listed = subprocess.run(missing, capture_output=True, text=True, check=True).stdout.split()
    assert set(listed) - {"U"} == {"memcpy", "memset"}


def test_the_programs_of_the_page_write_and_read_a_file(tmp_path):
    page = (FOLDER.parent / "reference" / "c-files.md").read_text()
    sources = re.findall(r"```c\n(/\* (\w+)\.c.*?)```", page, re.DOTALL)
    assert [name for _, name in sources] == ["write", "read"]
    for text, name in sources:
        (tmp_path / f"{name}.c").write_text(text)
        arguments = f"-I{c_file.NATIVE}", tmp_path / f"{name}.c"
        native_tools.compiled(tmp_path / name, *arguments)
    tokens = drawn_tokens(333, 16, 1)
    header = Header(16, 320, 16000, 24000, bytes(8))
    data = by_python(header, tokens, 333 * 320)
    written = subprocess.run([tmp_path / "write"], input=tokens.tobytes(), capture_output=True)
    assert (written.stdout, written.stderr, written.returncode) == (data, b"", 0)
    read = subprocess.run([tmp_path / "read"], input=data, capture_output=True)
    assert (list(map(int, read.stdout.split())), read.returncode) == (tokens.tolist(), 0)
    read = subprocess.run([tmp_path / "read"], input=data[:-1], capture_output=True)
    assert (read.stderr, read.returncode) == (b"byte %d: the stream is cut\n" % (len(data) - 8), 1)
    read = subprocess.run([tmp_path / "read"], input=b"RIFF", capture_output=True)
    assert (read.stdout, read.returncode) == (b"", 1)


def test_the_function_of_the_page_compiles(tmp_path):
    page = (FOLDER.parent / "reference" / "c-files.md").read_text()
    (text,) = re.findall(r"```c\n(/\* priors\.h.*?)```", page, re.DOTALL)
    source = tmp_path / "priors.c"
    source.write_text(
        f"{text}\nsize_t (*used)(const fcs_model *, fcs_prior *, size_t) = open_priors;"
    )
    native_tools.compiled(tmp_path / "priors.o", "-c", f"-I{c_file.NATIVE}", source)
