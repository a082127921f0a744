"""The C library of an exported model through ctypes, with guard bytes around all memory."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fcs_edge.export import fcsm

OK, BAD_ARGUMENT, BAD_ALIGNMENT, SMALL_BUFFER, SMALL_STATE, BAD_STATE, BAD_TOKEN = range(0, -7, -1)
BAD_RATE, NO_PART, NO_MODEL, NOT_A_MODEL, BAD_VERSION, BAD_CRC, OTHER_KERNELS, BAD_MODEL = range(
    -7, -15, -1
)
ALIGNMENT = 64
_PAINT = 0xA7
_PROTECT = ctypes.CDLL(None).mprotect
_PROTECT.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_Bytes = NDArray[np.uint8]
_P, _N, _I = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class Facts(ctypes.Structure):
    """``fcs_facts``."""

    _fields_: ClassVar[Any] = [
        *(
            (name, ctypes.c_uint32)
            for name in [
                "sample_rate_in",
                "sample_rate_out",
                "samples_per_token",
                "samples_out_per_token",
                "chunk_samples",
                "chunk_tokens",
                "decoder_chunk_tokens",
                "bits_per_token",
                "settings",
                "has_encoder",
                "has_decoder",
            ]
        ),
        ("fingerprint", ctypes.c_uint8 * 8),
        ("name", ctypes.c_char * 64),
        ("kernels", ctypes.c_uint8 * 8),
    ]


class FcsError(Exception):
    """A function of the library returned a code below 0."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Memory:
    """Memory that ends where a page begins that nobody may read, and begins behind such a page.

    Guard bytes fill what lies between; `check` reads them.

    Parameters
    ----------
    size : int
        Bytes.
    alignment : int
        Of its address. It ends as near to the page as that allows.
    """

    def __init__(self, size: int, alignment: int = ALIGNMENT) -> None:
        inner = -(-(size + alignment) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._pages = mmap.mmap(-1, inner + 2 * mmap.PAGESIZE)
        whole = np.frombuffer(self._pages, np.uint8)
        for page in (whole[: mmap.PAGESIZE], whole[-mmap.PAGESIZE :]):
            assert _PROTECT(page.ctypes.data, page.size, 0) == 0
        self._whole = whole[mmap.PAGESIZE : -mmap.PAGESIZE]
        self._whole[:] = _PAINT
        self._start = start = (inner - size) // alignment * alignment
        self._end = end = start + size
        self.bytes: _Bytes = self._whole[start:end]
        self.address: int = self._whole.ctypes.data + start

    def check(self) -> None:
        """Fail if a byte around the memory has changed."""
        assert (self._whole[: self._start] == _PAINT).all(), "bytes before the memory are written"
        assert (self._whole[self._end :] == _PAINT).all(), "bytes behind the memory are written"


class Library:
    """The functions of a library."""

    def __init__(self, path: Path) -> None:
        self.c = loaded = ctypes.CDLL(str(path))
        for name in ("error_text", "version"):
            getattr(loaded, f"fcs_{name}").restype = ctypes.c_char_p
        loaded.fcs_error_text.argtypes = [_I]
        loaded.fcs_model_open.argtypes = [_P, _P, _N]
        loaded.fcs_model_inside.argtypes = [_P]
        loaded.fcs_model_facts.argtypes = [_P, _P]
        loaded.fcs_model_section.argtypes = [_P, ctypes.c_uint32, ctypes.c_uint32, _P]
        loaded.fcs_model_section.restype = _P
        for kind, outputs in (("encoder", "tokens"), ("decoder", "samples")):
            self._declare(kind, outputs)
        loaded.fcs_encoder_n_not_finite.argtypes = [_P, _P]
        loaded.fcs_encoder_n_not_finite.restype = _N

    def _declare(self, kind: str, outputs: str) -> None:
        arguments: dict[str, list[Any]] = {
            "size": [_P, _I],
            "init": [_P, _P, _N, _I],
            outputs: [_P, _P, _N],
            "push": [_P, _P, _P, _N, _P, _N, _P],
            "flush": [_P, _P, _P, _N, _P],
            "reset": [_P, _P],
            "n_pending": [_P, _P],
        }
        for name, types in arguments.items():
            function = getattr(self.c, f"fcs_{kind}_{name}")
            function.argtypes = types
            if name in ("size", outputs, "n_pending"):
                function.restype = _N

    def check(self, code: int) -> None:
        """Raise for a code below 0."""
        if code < 0:
            raise FcsError(code, self.c.fcs_error_text(code).decode())

    def open(self, data: bytes) -> Model:
        """Open the bytes of a model file."""
        return Model(self, data)


class Model:
    """An open model; it holds its bytes."""

    def __init__(self, library: Library, data: bytes | None) -> None:
        self.library = library
        self._struct = Memory(4 * 8 + 4 * 32)
        self.address = self._struct.address
        self.memory = Memory(0)
        if data is None:
            code = library.c.fcs_model_inside(self.address)
        else:
            self.memory = Memory(len(data))
            self.memory.bytes[:] = np.frombuffer(data, np.uint8)
            code = library.c.fcs_model_open(self.address, self.memory.address, len(data))
            assert self.memory.bytes.tobytes() == data, "the model is written"
        self._struct.check()
        library.check(code)

    @property
    def facts(self) -> Facts:
        """What it is."""
        facts = Facts()
        self.library.c.fcs_model_facts(self.address, ctypes.byref(facts))
        return facts

    def section(self, kind: int, number: int = 0) -> bytes | None:
        """Return a part of the file."""
        size = ctypes.c_size_t(9)
        at = self.library.c.fcs_model_section(self.address, kind, number, ctypes.byref(size))
        return ctypes.string_at(at, size.value) if at else None

    def encoder(self, chunks: int = 1) -> Encoder:
        """Return a new stream of samples to tokens."""
        return Encoder(self, chunks)

    def decoder(self, chunks: int = 1) -> Decoder:
        """Return a new stream of tokens to samples."""
        return Decoder(self, chunks)


class _Stream:
    """A stream; its state lies between guard bytes."""

    kind: str
    counts: str
    input_type: type
    output_type: type
    section: int

    def __init__(self, model: Model, chunks: int = 1) -> None:
        self.model, self.chunks = model, chunks
        self.memory = Memory(self._call("size", chunks))
        self._check(self._call("init", self.memory.address, self.memory.bytes.size, chunks))

    def _call(self, name: str, *arguments: Any) -> int:
        function = getattr(self.model.library.c, f"fcs_{self.kind}_{name}")
        return int(function(self.model.address, *arguments))

    def _check(self, code: int) -> None:
        self.memory.check()
        self.model.library.check(code)

    @property
    def n_pending(self) -> int:
        """Items that wait."""
        return self._call("n_pending", self.memory.address)

    def outputs(self, n: int) -> int:
        """Return how many items a push of n writes."""
        return self._call(self.counts, self.memory.address, n)

    def push(self, items: NDArray[Any]) -> NDArray[Any]:
        """Push items, which lie just before guard bytes, and return what comes out."""
        values = np.ascontiguousarray(items, self.input_type)
        given = Memory(values.nbytes, values.itemsize)
        given.bytes[:] = values.view(np.uint8)
        n = self.outputs(items.size)
        out = self._output("push", n, given.address, items.size)
        assert out.size == n
        given.check()
        return out

    def flush(self) -> NDArray[Any]:
        """Return the rest, and start a new stream."""
        return self._output("flush", 64 * 480)

    def _output(self, name: str, capacity: int, *given: int) -> NDArray[Any]:
        size = np.dtype(self.output_type).itemsize
        out, n = Memory(capacity * size, size), ctypes.c_size_t(0xA7A7)
        code = self._call(name, self.memory.address, *given, out.address, capacity, ctypes.byref(n))
        out.check()
        self._check(code)
        assert n.value <= capacity
        assert (out.bytes[n.value * size :] == _PAINT).all(), "the output is longer than its count"
        return out.bytes[: n.value * size].copy().view(self.output_type)

    def reset(self) -> None:
        """Start a new stream."""
        self._check(self._call("reset", self.memory.address))

    def poison(self) -> None:
        """Write NaN into all memory of the state that holds nothing between two calls."""
        section = self.model.section(self.section, self.chunks)
        assert section is not None
        plan = fcsm.unpacked_plan(section)
        work = plan.state_bytes - plan.history_bytes
        assert work % 4 == 0
        self.memory.bytes[self.memory.bytes.size - work :].view(np.float32)[:] = np.nan

    def copy(self) -> Any:
        """Return a copy by memcpy, at another address."""
        other = type(self)(self.model, self.chunks)
        other.memory.bytes[:] = self.memory.bytes
        return other


class Encoder(_Stream):
    """Samples to tokens."""

    kind, counts, input_type, output_type = "encoder", "tokens", np.float32, np.uint16
    section = fcsm.ENCODER

    @property
    def n_not_finite(self) -> int:
        """Samples that were not finite."""
        return self._call("n_not_finite", self.memory.address)


class Decoder(_Stream):
    """Tokens to samples."""

    kind, counts, input_type, output_type = "decoder", "samples", np.uint16, np.float32
    section = fcsm.DECODER
