"""The document of the format says what the code does, by its example, its numbers and its table."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

from bitstream_cases import DOC, crc16, decode, tokens_in
from fcs_edge.bitstream import End, Header, HeaderRead, Metadata
from fcs_edge.bitstream.bitpack import pack_tokens
from fcs_edge.bitstream.blocks import block_record
from fcs_edge.bitstream.header import NON_CAUSAL
from fcs_edge.bitstream.metadata import metadata_records
from fcs_edge.bitstream.reader import SILENCE_TOKENS, START_BYTES
from fcs_edge.bitstream.records import MAX_BLOCK_BYTES, MAX_BODY, end_record
from fcs_edge.bitstream.search import LATE_TOKENS, NEAR_TOKENS, NEAR_TOKENS_A_BYTE
from fcs_edge.entropy import neutral_coder
from helpers import merged

TEXT = DOC.read_text()
TOKENS = np.array([291] * 100 + [1, 2047, 1024, 5] + [1000] * 8, np.uint16)
HEADER = Header(11, 320, 16000, 24000, bytes.fromhex("0123456789abcdef"))


class TestExample:
    @staticmethod
    def fields():
        example = TEXT.split("## Worked example", 1)[1]
        pattern = r"^([0-9a-f]{4})    ((?:[0-9a-f]{2} )*[0-9a-f]{2})  +(\S.*)$"
        return re.findall(pattern, example, re.MULTILINE)

    def test_offsets(self):
        at = 0
        for offset, text, _ in self.fields():
            assert int(offset, 16) == at
            at += len(bytes.fromhex(text))
        assert at == 76
        assert "The file has 76 bytes" in TEXT

    @pytest.mark.parametrize("eager", [False, True])
    def test_decodes(self, eager):
        data = b"".join(bytes.fromhex(text) for _, text, _ in self.fields())
        events = merged(decode(data, eager=eager))
        assert events == [
            HeaderRead(HEADER),
            Metadata({"title": "Hi"}),
            TOKENS.tolist(),
            End(35700),
        ]

    def test_encodes(self):
        data = b"".join(bytes.fromhex(text) for _, text, _ in self.fields())
        records = [
            HEADER.to_bytes(),
            metadata_records({"title": "Hi"}),
            block_record(TOKENS[:100], 0, 11, None, np.ones(100, bool)),
            block_record(TOKENS[100:104], 100, 11, None),
            block_record(TOKENS[104:], 104, 11, neutral_coder(11)),
            end_record(35700),
        ]
        assert b"".join(records) == data

    def test_meanings(self):
        """The numbers of the right column are those of the bytes."""
        for _, text, meaning in self.fields():
            value = int.from_bytes(bytes.fromhex(text), "little")
            if meaning.startswith("CRC"):
                assert meaning.endswith(f"{value:#06x}")
            elif re.match(r"\d+(,| tokens| bytes| pairs)", meaning) and len(text) < 10:
                assert int(re.match(r"\d+", meaning)[0]) == value


def test_payload_example():
    section = TEXT.split("### Payloads", 1)[1]
    rows = dict(re.findall(r"^(tokens|bytes|hex) +([0-9a-f ]+)$", section, re.MULTILINE))
    tokens = [int(text, 2) for text in rows["tokens"].split()]
    packed = bytes(int(text, 2) for text in rows["bytes"].split())
    assert tokens == [1, 2047, 1024, 5]
    assert packed == bytes.fromhex(rows["hex"])
    assert pack_tokens(np.array(tokens, np.uint16), 11) == packed


def test_numbers():
    assert f"0x{crc16(b'123456789'):X}" in TEXT
    assert f"{NEAR_TOKENS} + {NEAR_TOKENS_A_BYTE} \N{MULTIPLICATION SIGN} (*p* " in TEXT
    assert f"\N{MINUS SIGN}{LATE_TOKENS} ≤ *m*" in TEXT
    assert f"at most {SILENCE_TOKENS:,} tokens" in TEXT
    assert f"the first {START_BYTES} bytes" in TEXT
    assert f"at most {MAX_BODY + 5} bytes" in TEXT
    assert f"a CRC of up to {MAX_BLOCK_BYTES} bytes" in TEXT
    assert NON_CAUSAL == 1 << 15


def test_overhead():
    path = DOC.parents[2] / "scripts" / "bitstream_overhead.py"
    spec = importlib.util.spec_from_file_location("bitstream_overhead", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert "\n".join(script.rows()) in TEXT
    for seconds, most in ((1, 0.09), (2, 0.05), (4, 0.03)):
        payload, size = script.file_size(16, seconds, coded=True)
        assert size - payload <= most * payload


def test_from_python(tmp_path, monkeypatch):
    """The code of the page runs as it is."""
    code = TEXT.split("## From Python", 1)[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {"tokens": TOKENS, "n_samples": 112 * 320}
    exec(code, names)
    assert tokens_in(decode((tmp_path / "speech.fcs").read_bytes())).tolist() == TOKENS.tolist()
