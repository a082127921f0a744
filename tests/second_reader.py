"""Both readers of `.fcs` streams, with events in one form: that of docs/vectors/read_fcs.py."""

import importlib.util
import sys
from pathlib import Path

from vector_records import prior_bytes

from fcs_edge.bitstream import BitstreamReader, Damage, End, Header, HeaderRead, Metadata, Tokens
from fcs_edge.errors import FcsError

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "vectors"


def module(name):
    """Return a program of docs/vectors as a module."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, loaded)
    spec.loader.exec_module(loaded)
    return loaded


read_fcs = module("read_fcs")


def joined(events):
    """Return events with adjacent tokens, and adjacent silence, joined; without empty ones."""
    found = []
    for kind, *values in events:
        if kind in ("tokens", "silence") and found and found[-1][0] == kind:
            found[-1] = [kind, found[-1][1] + values[0]]
        elif kind != "silence" or values[0]:
            found.append([kind, *values])
    return found


def first(data, model=None, priors=(), step=None, salvage=False, eager=False):
    """Return events and exit code by fcs-edge; what it has no event for is left out."""
    checks = {prior.check: prior.coder() for prior in priors}

    def coder_of(header):
        coder = checks.get(header.prior)
        return coder if coder is not None and coder.bits == header.bits else None

    reader = BitstreamReader(join=model, coders=coder_of, salvage=salvage, eager=eager)
    step, found, whole = step or max(1, len(data)), [], True
    try:
        batches = [reader.feed(data[i : i + step]) for i in range(0, len(data), step)]
        batches.append(reader.close())
    except FcsError:
        return [], 2
    for event in (event for batch in batches for event in batch):
        match event:
            case HeaderRead(h):
                rates = h.samples_per_token, h.input_rate, h.output_rate
                name = h.fingerprint.hex()
                found.append(["header", h.bits, *rates, name, h.prior, h.settings])
            case Metadata(tags):
                found.append(["metadata", dict(tags)])
            case Tokens():
                found.append(["tokens", event.tokens.tolist()])
            case Damage(n_tokens, _):
                found.append(["silence", n_tokens])
                whole = False
            case End(n_samples):
                found.append(["end", n_samples])
    return joined(found), int(not whole)


def second(data, model=None, priors=(), reader=read_fcs.Reader):
    """Return events and exit code by the second reader; priors may be those of fcs-edge."""
    priors = [p if isinstance(p, read_fcs.Prior) else second_prior(p) for p in priors]
    if isinstance(model, Header):
        rates = model.samples_per_token, model.input_rate, model.output_rate
        rest = model.fingerprint, model.prior, model.settings
        model = read_fcs.Header(model.bits, *rates, *rest)
    try:
        events = list(reader(data, model, priors).events())
    except ValueError:
        return [], 2
    found = [e for e in events if e[0] != "damage" and e != ["metadata", {}]]
    return joined(found), int(["damage"] in [event[:1] for event in events])


def second_prior(prior):
    """Return the second reader's form of a prior."""
    return read_fcs.Prior(prior_bytes(prior))


def seen_by_first(events):
    """Return events without what fcs-edge has no event for."""
    return [e[:2] if e[0] == "end" else e for e in events if e[0] != "end" or e[1] is not None]
