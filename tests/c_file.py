"""`fcs_file.h` through ctypes: writer, reader and coders, with the events of `second_reader`."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64
from pathlib import Path

import numpy as np
from second_reader import joined
from vector_records import prior_bytes

import native_tools

NATIVE = Path(__file__).resolve().parent.parent / "export" / "native"
HEADER, METADATA, TOKENS, DAMAGE, END, RECORD = range(2, 8)
DONE, MORE = 0, 1

SOURCE = """
#define FCS_FILE_IMPLEMENTATION
#include "fcs_file.h"
const size_t fcs_sizes[] = {sizeof(fcs_file_header), sizeof(fcs_prior), sizeof(fcs_tag),
    sizeof(fcs_buffer), sizeof(fcs_writer_options), sizeof(fcs_event), sizeof(fcs_reader_options),
    sizeof(fcs_writer), sizeof(fcs_reader)};
"""
"""A library of the header alone; the sizes show that the structures below are its own."""


class Header(ctypes.Structure):
    _fields_ = [
        *((name, c_uint32) for name in ("bits", "spt", "rate_in", "rate_out")),
        *((name, c_uint32) for name in ("settings", "prior")),
        ("fingerprint", c_uint8 * 8),
    ]

    def described(self):
        """Return the fields as an event has them."""
        rates = self.spt, self.rate_in, self.rate_out
        return [self.bits, *rates, bytes(self.fingerprint).hex(), self.prior, self.settings]


class Prior(ctypes.Structure):
    _fields_ = [
        *((name, c_uint32) for name in ("bits", "hidden", "check")),
        ("arrays", ctypes.c_void_p * 7),
    ]


class Tag(ctypes.Structure):
    _fields_ = [("key", c_char_p), ("value", c_char_p)]


class Buffer(ctypes.Structure):
    _fields_ = [("bytes", POINTER(c_uint8)), ("capacity", c_size_t), ("size", c_size_t)]


class WriterOptions(ctypes.Structure):
    _fields_ = [
        ("prior", POINTER(Prior)),
        ("raw", c_int),
        ("block_tokens", c_uint32),
        ("live_tokens", c_uint32),
        ("tags", POINTER(Tag)),
        ("n_tags", c_size_t),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("kind", c_int),
        ("code", c_int),
        ("n_tokens", c_uint32),
        ("chunk_tokens", c_uint32),
        ("tokens", POINTER(c_uint16)),
        ("bytes", POINTER(c_uint8)),
        ("n_bytes", c_size_t),
        *((name, c_uint64) for name in ("offset", "n_missing", "n_samples")),
        ("type", c_uint32),
        ("whole", c_int),
        ("header", Header),
    ]


class ReaderOptions(ctypes.Structure):
    _fields_ = [
        ("priors", POINTER(Prior)),
        ("n_priors", c_size_t),
        ("model", POINTER(Header)),
        ("live", c_int),
    ]


STRUCTURES = Header, Prior, Tag, Buffer, WriterOptions, Event, ReaderOptions
WRITE = ctypes.CFUNCTYPE(c_int, ctypes.c_void_p, POINTER(c_uint8), c_size_t)


def build(folder):
    """Compile the header without a warning, and return the library."""
    source = folder / "fcs_file_alone.c"
    source.write_text(SOURCE)
    path = native_tools.compiled(
        folder / "libfcs_file.so", "-shared", "-fPIC", f"-I{NATIVE}", source
    )
    library = ctypes.CDLL(str(path))
    library.fcs_file_text.restype = c_char_p
    library.fcs_file_output_samples.restype = c_uint64
    library.fcs_file_output_samples.argtypes = [POINTER(Header), c_uint64]
    library.fcs_writer_close.argtypes = [ctypes.c_void_p, c_uint64]
    library.fcs_writer_put.argtypes = [ctypes.c_void_p, ctypes.c_void_p, c_size_t]
    library.fcs_reader_feed.argtypes = [ctypes.c_void_p, c_char_p, c_size_t]
    library.fcs_code_tokens.restype = c_size_t
    sizes = (c_size_t * (len(STRUCTURES) + 2)).in_dll(library, "fcs_sizes")
    assert list(sizes)[: len(STRUCTURES)] == [ctypes.sizeof(s) for s in STRUCTURES]
    library.writer_size, library.reader_size = list(sizes)[len(STRUCTURES) :]
    return library


def header_of(header):
    """Return a header of fcs-edge as the library's."""
    rates = header.samples_per_token, header.input_rate, header.output_rate
    fingerprint = (c_uint8 * 8)(*header.fingerprint)
    return Header(header.bits, *rates, header.settings, header.prior, fingerprint)


def priors_of(library, networks):
    """Return priors of fcs-edge as an array of the library's, which holds their bytes."""
    stored = [ctypes.create_string_buffer(data, len(data)) for data in map(prior_bytes, networks)]
    priors = (Prior * max(1, len(stored)))()
    for prior, data in zip(priors, stored, strict=False):
        assert library.fcs_prior_open(byref(prior), data, c_size_t(len(data))) == 0
    assert [prior.check for prior in priors][: len(stored)] == [n.check for n in networks]
    priors.stored = stored
    return priors


def text(pointer, size):
    """Return foreign bytes as text."""
    return ctypes.string_at(pointer, size).decode("utf-8", "replace")


def tags_in(library, event):
    """Return the tags of a metadata event."""
    at, tags = c_size_t(0), {}
    key, value = ctypes.c_void_p(), ctypes.c_void_p()
    sizes = c_size_t(), c_size_t()
    while library.fcs_metadata_next(
        byref(event), byref(at), byref(key), byref(sizes[0]), byref(value), byref(sizes[1])
    ):
        tags[text(key.value, sizes[0].value)] = text(value.value, sizes[1].value)
    return tags


def raw_events(library, data, model=None, networks=(), step=None, live=False):
    """Yield kind and event of a whole input, which is given `step` bytes at a time."""
    priors = priors_of(library, networks)
    own = header_of(model) if model is not None else None
    pointer = ctypes.pointer(own) if own is not None else None
    options = ReaderOptions(priors, len(networks), pointer, live)
    reader = ctypes.create_string_buffer(library.reader_size)
    assert library.fcs_reader_init(reader, byref(options)) == 0
    step, at, event = step or max(1, len(data)), 0, Event()
    while True:
        kind = library.fcs_reader_next(reader, byref(event))
        if kind != MORE:
            yield kind, event
            if kind <= DONE:
                return
        elif at < len(data):
            piece = data[at : at + step]
            at += len(piece)
            assert library.fcs_reader_feed(reader, piece, len(piece)) == 0
            # Held until the reader requests more, as its user must.
            held = piece
        else:
            held = b""
            assert library.fcs_reader_end(reader) == 0
    del held


def read(library, data, model=None, networks=(), step=None, live=False):
    """Return events and exit code, as `second_reader.first` does."""
    found, whole = [], True
    for kind, event in raw_events(library, data, model, networks, step, live):
        if kind < 0:
            return [], 2
        if kind == HEADER:
            found.append(["header", *event.header.described()])
        elif kind == METADATA:
            found.append(["metadata", tags_in(library, event)])
        elif kind == TOKENS:
            found.append(["tokens", event.tokens[: event.n_tokens]])
        elif kind == DAMAGE:
            assert library.fcs_file_text(event.code) != library.fcs_file_text(1)
            found.append(["silence", event.n_tokens])
            whole = False
        elif kind == END:
            found.append(["end", event.n_samples])
        elif kind == DONE:
            assert bool(event.whole) == whole
    return joined(found), int(not whole)


def write(library, header, tokens, n_samples, *, network=None, pieces=None, tags=(), **options):
    """Return a file of the C writer, whose tokens come in pieces of some sizes."""
    written = []

    @WRITE
    def take(_context, data, size):
        written.append(ctypes.string_at(data, size))
        return 0

    writer = ctypes.create_string_buffer(library.writer_size)
    priors = priors_of(library, [network] if network is not None else [])
    listed = (Tag * max(1, len(tags)))(*[Tag(k.encode(), v.encode()) for k, v in tags])
    how = WriterOptions(tags=listed, n_tags=len(tags), **options)
    if network is not None:
        how.prior = ctypes.pointer(priors[0])
    own = header_of(header)
    assert library.fcs_writer_init(writer, byref(own), byref(how), take, None) == 0
    array, at = np.ascontiguousarray(tokens, np.uint16), 0
    for size in pieces or [array.size]:
        part = array[at : at + size]
        assert library.fcs_writer_put(writer, part.ctypes.data, part.size) == 0
        at += size
    assert at == array.size
    assert library.fcs_writer_close(writer, n_samples) == 0
    assert library.fcs_writer_close(writer, n_samples) < 0
    return b"".join(written)
