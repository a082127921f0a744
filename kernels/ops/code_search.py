"""The search for codes near the latents whose predicted spectrum is closest to a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fcs_edge.kernels._types import F32, I64, Scalar
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.runtime._jit import factory, kernel

Kernel = Callable[..., None]

_SHAPES = {16: (6, 3), 8: (2, 5), 4: (2, 10)}
"""By lanes of a register: candidates of a panel, and registers across it.

Their sums fill the registers of AVX-512, AVX2 and NEON, and 40 outputs are one panel.
"""

_INNER, _OUTPUTS = 64, 16
"""Hidden values and outputs are padded to a multiple: four registers of the widest set, and one."""


class Predictor(NamedTuple):
    """The network ``relu(first_bias + sum_kj first[k, j] s[k, j]) second + second_bias``."""

    first: F32
    """(history, bits, inner) float32."""
    first_bias: F32
    """(inner,) float32."""
    second: F32
    """(inner, width) float32."""
    second_bias: F32
    """(width,) float32."""


class Settings(NamedTuple):
    """How the search goes."""

    prior: Scalar
    """Weight of the latents, float32."""
    max_flips: int
    """Rounds of a row's greedy search; each flips one bit."""
    shortlist: int
    """Bits that all rounds but the first look at."""
    chunk: int
    """Rows after which one sequence of codes is decided on."""
    beam_width: int
    """Sequences that continue up to the chunk's end, n."""


class Workspace(NamedTuple):
    """Memory that a search overwrites."""

    beams: F32
    """(2, n, 1 + reach, bits): signs of the row being searched, then of the last rows.

    reach is max(history, chunk).
    """
    costs: F32
    """(2, n): costs of the beams, in rising order."""
    origins: I64
    """(2, n): the beam that each new one continues, and the bits flipped in its row."""
    listed: I64
    """(1 + bits,): the bits that a round looks at; -1 is no flip."""
    first_costs: F32
    """(bits,): costs of the first round."""
    errors: F32
    """(candidates,): at least 1 + bits, a multiple of a panel's candidates."""
    sums: F32
    """(padded inner,): hidden values before relu."""
    active: F32
    """(candidates, padded inner): relu of the hidden values of each candidate."""
    predicted: F32
    """(candidates, padded width): prediction minus target."""


def shape(using: instructions.Instructions) -> tuple[int, int, int]:
    """Return the candidates of a panel, the lanes of a register, and the registers across it."""
    rows, vectors = _SHAPES[using.lanes]
    return rows, using.lanes, vectors


class CodeSearch:
    """A search whose weights are packed into panels of outputs.

    Parameters
    ----------
    predictor : Predictor
        The network.
    settings : Settings
        How the search goes.
    """

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        self._rows, lanes, vectors = shape(instructions.chosen())
        self._history, self._bits, inner = predictor.first.shape
        self._settings = settings
        width = lanes * vectors
        padded, outputs = -(-inner // _INNER) * _INNER, predictor.second.shape[1]
        panels = -(-outputs // width)
        first = np.zeros((self._history * self._bits, padded), np.float32)
        first[:, :inner] = predictor.first.reshape(-1, inner)
        second = np.zeros((inner, panels * width), np.float32)
        second[:, :outputs] = predictor.second
        packed = np.ascontiguousarray(second.reshape(inner, panels, width).transpose(1, 0, 2))
        biases = [np.zeros(padded, np.float32)]
        biases.append(np.zeros(-(-panels * width // _OUTPUTS) * _OUTPUTS, np.float32))
        biases[0][:inner], biases[1][:outputs] = predictor.first_bias, predictor.second_bias
        self._network = Predictor(first, biases[0], packed, biases[1])
        self._search = search(self._rows, lanes, vectors)

    def workspace(self) -> Workspace:
        """Return memory for one search at a time."""
        network, settings, n = self._network, self._settings, self._settings.beam_width
        reach = max(self._history, settings.chunk)
        candidates = -(-(1 + self._bits) // self._rows) * self._rows
        inner, width = network.first_bias.size, network.second_bias.size
        return Workspace(
            np.zeros((2, n, 1 + reach, self._bits), np.float32),
            np.zeros((2, n), np.float32),
            np.zeros((2, n), np.int64),
            np.zeros(1 + self._bits, np.int64),
            np.zeros(self._bits, np.float32),
            np.zeros(candidates, np.float32),
            np.zeros(inner, np.float32),
            np.zeros((candidates, inner), np.float32),
            np.zeros((candidates, width), np.float32),
        )

    def __call__(
        self, latents: F32, target: F32, past: F32, workspace: Workspace, signs: F32
    ) -> None:
        """Write the signs s of codes that minimise the sum of J over each chunk, of those visited.

        ``J(s) = |predicted(s) - target[m]| ** 2 - prior sum_j s[j] latents[m, j]``
        ``predicted(s) = relu(first_bias + sum_kj first[k, j] past[k, j]) second + second_bias``

        where past[0] = s, and past[k] is the choice k rows before. Of a row the search visits the
        signs of the latents, then up to `max_flips` times each flip of one bit. The flip with the
        smallest J stays; the rounds end where none reduces J. The first round visits all bits;
        later ones the `shortlist` best of the first, without the bit that it flipped. Up to the
        chunk's end the n cheapest sequences continue (the M-algorithm: Jelinek, Anderson,
        Instrumentable tree encoding of information sources, IEEE Trans. Inf. Theory 17, 1971).

        Parameters
        ----------
        latents : numpy.ndarray
            (rows, bits) float32: whole chunks, or fewer rows than a chunk has, which count as one.
        target : numpy.ndarray
            (rows, width) float32.
        past : numpy.ndarray
            (history, bits) float32: the last rows of signs, the newest first; 0 before the first
            one. The call advances it by all rows.
        workspace : Workspace
            Overwritten.
        signs : numpy.ndarray
            (rows, bits) float32, may be `latents`.
        """
        prior, max_flips, shortlist, chunk, _ = self._settings
        chunk = min(chunk, len(latents))
        arguments = (*self._network, prior, max_flips, shortlist, chunk, past, *workspace, signs)
        self._search(latents, target, *arguments)


@kernel
def join(x: F32, y: F32, out: F32) -> None:
    """``out[m] = [x[m], y[m]]``; x (rows, a), y (rows, b), out (rows, a + b)."""
    for m in range(out.shape[0]):
        for n in range(x.shape[1]):
            out[m, n] = x[m, n]
        for n in range(y.shape[1]):
            out[m, x.shape[1] + n] = y[m, n]


@kernel
def rectify(x: F32) -> None:
    """``x = max(x, 0)``; x (rows, width)."""
    for m in range(x.shape[0]):
        for n in range(x.shape[1]):
            x[m, n] = max(x[m, n], np.float32(0))


@factory
def search(rows: int, lanes: int, vectors: int) -> Kernel:
    """Return the kernel for panels of `rows` candidates by lanes * vectors outputs."""
    global decide, extend, search_row
    from fcs_edge.kernels.ops.code_search_panels import decide, extend, search_row

    @kernel
    def search(
        latents: F32,
        target: F32,
        first: F32,
        first_bias: F32,
        second: F32,
        second_bias: F32,
        prior: Scalar,
        max_flips: int,
        shortlist: int,
        chunk: int,
        past: F32,
        beams: F32,
        costs: F32,
        origins: I64,
        listed: I64,
        first_costs: F32,
        errors: F32,
        sums: F32,
        active: F32,
        predicted: F32,
        signs: F32,
    ) -> None:
        """Search codes; see `CodeSearch`, whose named tuples are flat here."""
        network = Predictor(first, first_bias, second, second_bias)
        settings = (prior, max_flips, shortlist)
        work = Workspace(
            beams, costs, origins, listed, first_costs, errors, sums, active, predicted
        )
        n_beams = 1
        for m in range(latents.shape[0]):
            old, new = m % 2, (m + 1) % 2
            if m % chunk == 0:
                n_beams = 1
                costs[old, 0] = 0
                for i in range(past.shape[0]):
                    for j in range(past.shape[1]):
                        beams[old, 0, 1 + i, j] = past[i, j]
            n = 0
            for beam in range(n_beams):
                here, aim = latents[m], target[m]
                n = search_row(
                    rows, lanes, vectors, here, aim, network, settings, work, new, beam, n
                )
            is_last = (m + 1) % chunk == 0
            n_beams = 1 if is_last else n
            for beam in range(n_beams):
                before = beams[old, origins[0, beam]]
                extend(latents[m], origins[1, beam], before, beams[new, beam])
            if is_last:
                decide(beams[new, 0], past, signs[m + 1 - chunk : m + 1])

    return search
