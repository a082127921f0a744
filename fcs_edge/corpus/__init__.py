"""Whole corpora: many sound files to a dataset of tokens in Parquet files, and back.

>>> import fcs_edge.corpus
>>> run = fcs_edge.corpus.encode(["speech/"], "tokens/")
>>> tokens = fcs_edge.corpus.open("tokens/")

As the commands do
    encode(inputs, out)       folders, lists and archives of sound to a dataset; returns a Run
    iter_encode(inputs, out)  the same, and each Parquet file as it is written, a Shard
    decode(dataset, out)      rows of a dataset to sound files; returns a Decoded
    stats(dataset)            what a dataset holds, as values for JSON
    check(dataset)            whether its files are whole and belong together; returns a Checked
    Watcher                   to show a run as it goes on: encode(..., watcher=...)

Datasets
    open(path)                a TokenDataset: len, [id], rows(), to_arrow(), decode(id), errors

Rows that another library holds: `datasets`, Ray Data, Spark
    encode_rows(rows, codec)      rows to rows with tokens, one by one
    encode_columns(batch, codec)  a batch, as lists by column, to one with tokens

pyarrow is needed by what reads or writes a dataset: pip install pyarrow
"""

import typing as _typing

from fcs_edge.lazy import lazy_names as _lazy_names

if _typing.TYPE_CHECKING:
    from fcs_edge.corpus.checking import Checked as Checked
    from fcs_edge.corpus.checking import check as check
    from fcs_edge.corpus.dataset import TokenDataset as TokenDataset
    from fcs_edge.corpus.dataset import open as open
    from fcs_edge.corpus.decoding import Decoded as Decoded
    from fcs_edge.corpus.decoding import decode as decode
    from fcs_edge.corpus.rows import encode_columns as encode_columns
    from fcs_edge.corpus.rows import encode_rows as encode_rows
    from fcs_edge.corpus.run import Options as Options
    from fcs_edge.corpus.run import Run as Run
    from fcs_edge.corpus.run import Shard as Shard
    from fcs_edge.corpus.run import encode as encode
    from fcs_edge.corpus.run import iter_encode as iter_encode
    from fcs_edge.corpus.statistics import stats as stats
    from fcs_edge.corpus.watcher import Watcher as Watcher

__getattr__, __dir__ = _lazy_names(
    "fcs_edge.corpus",
    {
        "checking": ("Checked", "check"),
        "dataset": ("TokenDataset", "open"),
        "decoding": ("Decoded", "decode"),
        "rows": ("encode_columns", "encode_rows"),
        "run": ("Options", "Run", "Shard", "encode", "iter_encode"),
        "statistics": ("stats",),
        "watcher": ("Watcher",),
    },
)
