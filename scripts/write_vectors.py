"""Write the test vectors of the `.fcs` bitstream: docs/vectors/.

    python scripts/write_vectors.py [--check]

Each vector is a stream, NAME.fcs, and what a reader gives for it, NAME.json. `vector_cases` states
that; it comes from no reader. ``--check`` writes nothing, and fails if a file differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vector_base import Vector
from vector_cases import KINDS, VECTORS
from vector_records import PRIORS, prior_bytes

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "vectors"


def described(vector: Vector) -> str:
    """Return a vector's description as JSON, one event a line."""
    facts: dict[str, object] = {"shows": vector.shows, "exit": vector.code}
    if vector.model is not None:
        facts["model"] = vector.model.described()
    if vector.priors:
        facts["priors"] = [f"{name}.prior" for name in vector.priors]
    if vector.salvage:
        facts["salvage"] = True
    lines = [f" {json.dumps(key)}: {json.dumps(fact)},\n" for key, fact in facts.items()]
    events = ",\n  ".join(json.dumps(event) for event in vector.events)
    last = f' "events": [\n  {events}\n ]\n' if events else ' "events": []\n'
    return "{\n" + "".join(lines) + last + "}\n"


def table() -> str:
    """Return the tables of the page."""
    lines = []
    for title, vectors in KINDS.items():
        lines += [f"## {title}", "", "| Vector | Shows |", "| --- | --- |"]
        lines += [f"| `{v.name}` | {v.shows} |" for v in vectors]
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def files() -> dict[str, bytes]:
    """Return all files by name, but the page."""
    found = {f"{name}.prior": prior_bytes(prior) for name, prior in PRIORS.items()}
    for vector in VECTORS:
        found[f"{vector.name}.fcs"] = vector.data
        found[f"{vector.name}.json"] = described(vector).encode()
    return found


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    start = text.index(f"## {next(iter(KINDS))}")
    return text[:start] + table()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    readme = FOLDER / "README.md"
    target = files() | {"README.md": page(readme.read_text()).encode()}
    stale = {p.name for p in FOLDER.iterdir() if p.suffix in (".fcs", ".json", ".prior")}
    stale -= set(target)
    for name, data in target.items():
        path = FOLDER / name
        if not path.exists() or path.read_bytes() != data:
            stale.add(name)
            if not args.check:
                path.write_bytes(data)
    if args.check and stale:
        sys.exit(f"docs/vectors/ is not what scripts/write_vectors.py writes: {sorted(stale)}")


if __name__ == "__main__":
    main()
