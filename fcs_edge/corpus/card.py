"""The dataset card, with which ``datasets.load_dataset`` reads the shards alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from fcs_edge.corpus.storage import data_name

_LAST = (
    b"<!-- fcs-edge corpus writes this page after each run. Without this line the page stays. -->"
)

_CARD = """\
---
configs:
- config_name: default
  description: {digest}
  data_files:
{files_of_data}
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

    It lists the shards, so that a reader never sees those of a run that is not finished.
    `datasets` finds what it once read by the card's header alone: a digest of all shards is there.

    Parameters
    ----------
    stated : mapping
        The values of dataset.json.
    """
    totals, model, shards = stated["totals"], stated["model"], stated["shards"]
    digests = "".join(shard["sha256"] for shard in shards)
    return _CARD.format(
        **totals,
        **model,
        digest=f"shards {hashlib.sha256(digests.encode()).hexdigest()[:16]}",
        files_of_data="\n".join(f"  - {data_name(shard['name'])}" for shard in shards),
        intact=totals["files"] - totals["errors"],
        hours=totals["samples"] / model["sample_rate"] / 3600,
        last=_LAST.decode(),
    )


def is_own_card(data: bytes) -> bool:
    """Return whether `dataset_card` wrote a page: nobody removed its last line."""
    return _LAST in data
