"""The page of the protocol: its worked examples, its tables, its code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import measure_link
from fcs_edge.entropy import neutral_coder
from fcs_edge.link.packets import Packet, PacketFormat, Silence, read_packet, write_packet
from fcs_edge.link.payload import coded_if_shorter
from fcs_edge.link.reasons import REASONS
from fcs_edge.link.seal import DirectionKey

DOC = Path(__file__).parents[2] / "docs" / "reference" / "link-protocol.md"
FORM = PacketFormat(bytes.fromhex("0123456789abcdef"), 11, 4)
KEY = DirectionKey(bytes(range(32)), 0)
STREAM = 0x32C35EE4001F3A6C2B1D
EXAMPLE = Packet(STREAM, 1000, np.array([1, 2047, 1024, 5], np.uint16))


def section(name):
    """Return the text from a heading to the next of its level."""
    return DOC.read_text().split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]


class TestExamples:
    @staticmethod
    def fields():
        example = section("Worked examples")
        pattern = r"^([0-9a-f]{2})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})  +\S"
        return re.findall(pattern, example, re.MULTILINE)

    def test_worked_example(self):
        fields = self.fields()
        starts = [i for i, (offset, _) in enumerate(fields) if offset == "00"]
        parts = [fields[i:j] for i, j in zip(starts, [*starts[1:], None], strict=True)]
        two = np.array([1, 2047, 1024, 5, 5, 5, 5, 5], np.uint16)
        coder = neutral_coder(11)
        coded = coded_if_shorter(two, 11, coder)
        cases = (
            (EXAMPLE, None),
            (Packet(STREAM, 1008, EXAMPLE.tokens, identified=True), None),
            (EXAMPLE, KEY),
            (Packet(STREAM, 1008, coded, identified=True), None),
            (Packet(STREAM, 1000, coded), KEY),
            (Silence(STREAM, 1001, 5), None),
            (Packet(STREAM, 1001, two, before=1), None),
            (Packet(STREAM, 1001, coded, before=1), KEY),
        )
        for part, (packet, key) in zip(parts, cases, strict=True):
            data = b""
            for offset, text in part:
                assert int(offset, 16) == len(data)
                data += bytes.fromhex(text)
            assert write_packet(FORM, packet, key) == data
            back = read_packet(FORM, data, key, {0: coder})
            assert write_packet(FORM, back, key) == data
            if isinstance(packet, Packet):
                assert np.array_equal(back.decoded(), packet.decoded())

    def test_code_for_strangers(self):
        """The page's few lines, which know hashlib and PyNaCl only, give the page's bytes."""
        text = section("Worked examples")
        code = text.split("```python\n", 1)[1].split("```", 1)[0]
        names: dict[str, bytes] = {}
        exec(code, names)
        assert "fcs_edge" not in code
        assert names["packet"] == write_packet(FORM, EXAMPLE, KEY)
        assert names["key"].hex() in text.replace(" ", "")
        assert KEY.of_stream(names["stream"], FORM.fingerprint, 0).hex() in text

    def test_reasons(self):
        text = DOC.read_text()
        assert all(f"`{name}`" in text for name in REASONS)


class TestTables:
    """What `scripts/measure_link.py` prints is what the page has."""

    def test_rates(self):
        rows = re.findall(r"^\| \d+ \| \d+ ms \| .+$", section("On the wire"), re.MULTILINE)
        expected = [
            measure_link.wire_row(bits, length)
            for bits in measure_link.BITS
            for length in measure_link.LENGTHS
        ]
        assert rows == expected

    def test_rates_by_hand(self):
        """Sealed, 240 ms, 11 bits: 28 + 16 + 17 + 16 bytes each 0.24 s; open: 8 each 0.96 s."""
        row = measure_link.wire_row(11, 240).split(" | ")
        assert float(row[6]) == pytest.approx((28 + 16 + 17 + 16) / 0.24, abs=0.05)
        assert float(row[3]) == pytest.approx((28 + 16 + 17) / 0.24 + 8 / 0.96, abs=0.05)

    def test_coded(self):
        """The sizes are measured; the rates follow from them."""
        text = section("On the wire")
        found = re.findall(r"^(\| 16, coded \| (\d+) ms \| ([0-9.]+) .*)$", text, re.MULTILINE)
        assert [int(length) for _, length, _ in found] == list(measure_link.LENGTHS)
        for row, length, size in found:
            cells = row.split(" | ")
            for sealed, (cell, rate) in enumerate(((2, 3), (5, 6))):
                link = measure_link.framings(16, int(length), False, True)[sealed]
                assert float(cells[cell]) - float(size) == pytest.approx(16 * sealed)
                due = link.wire_rate(size=float(cells[cell]))
                assert float(cells[rate]) == pytest.approx(
                    due, abs=0.05 / link.chunks / 0.08 + 0.05
                )

    def test_redundancy(self):
        text = section("On the wire")
        for length in measure_link.LENGTHS:
            assert measure_link.redundant_row(length) in text

    def test_losses(self):
        """A single loss costs nothing: of a share p, about p squared remains."""
        for chunks in (1, 3):
            for loss in (0.1, 0.2):
                shares = [measure_link.lost_share(chunks, r, loss, 1500) for r in (False, True)]
                assert shares[0] == pytest.approx(loss, abs=0.03)
                assert shares[1] == pytest.approx(loss**2, abs=0.015)
