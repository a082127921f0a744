"""The dataset card, with which ``datasets.load_dataset`` reads the shards alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LAST = (
    b"<!-- fcs-edge corpus writes this page after each run. Without this line the page stays. -->"
)

_CARD = """\
---
configs:
- config_name: default
  data_files: data/*.parquet
tags:
- audio
- speech
- fcs-edge
---

# Speech as tokens

| | |
|---|---|
| files | {files:,} |
| with tokens | {intact:,} |
| cut | {cut:,} |
| hours of sound | {hours:,.2f} |
| tokens | {tokens:,} |
| model | {model}, fingerprint {fingerprint} |
| tokens a second | {token_rate:g} |
| bits a token | {bits_per_token} |

A row is a file, or a part of one. `tokens` is null where `error` says why there are none.
`_errors.tsv` lists these rows, and rows whose sound is cut.

```python
import datasets

tokens = datasets.load_dataset("FOLDER", split="train")
```

fcs-edge turns tokens into sound again:

```python
import fcs_edge.corpus

tokens = fcs_edge.corpus.open("FOLDER")
sound = tokens.decode("ID")
```

The project fcs-edge describes the columns in docs/reference/corpus-dataset.md.

{last}
"""


def dataset_card(stated: Mapping[str, Any]) -> str:
    """Return the text of a card.

    Parameters
    ----------
    stated : mapping
        The values of dataset.json.
    """
    totals, model = stated["totals"], stated["model"]
    return _CARD.format(
        **totals,
        **model,
        intact=totals["files"] - totals["errors"],
        hours=totals["samples"] / model["sample_rate"] / 3600,
        last=_LAST.decode(),
    )


def is_own_card(data: bytes) -> bool:
    """Return whether `dataset_card` wrote a page: nobody removed its last line."""
    return _LAST in data
