"""What a dataset of tokens holds, as a table on a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fcs_edge.cli.ui.corpus_plot import headline
from fcs_edge.cli.ui.messages import plain
from fcs_edge.cli.ui.quantities import counted_files, hours_text, size_text
from fcs_edge.corpus.statistics import Facts
from fcs_edge.text import counted

_MOST = 8
"""Lines of one kind."""
_BLOCKS = " ▁▂▃▄▅▆▇█"


def show(facts: Facts) -> None:
    """Print what `fcs_edge.corpus.statistics.stats` returns."""
    console = Console()
    console.print(plain(headline(facts), "bold"))
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(facts):
        table.add_row(name, plain(text))
    console.print(table)
    if facts["tokens"] and facts["entropy"]["pair_coverage"] < 0.9:
        console.print(Text("* too few tokens: more speech has more bits after the previous token"))


def _lines(facts: Facts) -> list[tuple[str, str]]:
    """Return names and values, row by row; a name is empty where it stays the same."""
    rows = [("files", _files(facts))]
    rows += _repeated("errors", facts["error_kinds"])
    rows += _repeated("warnings", facts["warning_kinds"])
    if facts["not_finite"]["files"]:
        n = facts["not_finite"]
        rows.append(
            ("NaN, infinity", f"{n['samples']:,} samples of {n['files']:,} files, read as 0")
        )
    if facts["durations"]["histogram"] is not None:
        rows += _durations(facts["durations"])
    rows += [
        (name, _parts(facts["sources"][key], form))
        for name, key, form in (
            ("rates", "sample_rates", "{} Hz"),
            ("channels", "channels", "{} ch"),
            ("suffixes", "suffixes", "{}"),
        )
        if facts["sources"][key]
    ]
    if facts["tokens"]:
        rows += _tokens(facts)
    return rows


def _files(facts: Facts) -> str:
    shards = counted(facts["shards"], "shard")
    return (
        f"{facts['files']:,} in {shards}; {facts['errors']:,} without tokens, {facts['cut']:,} cut"
    )


def _repeated(name: str, kinds: list[Facts]) -> list[tuple[str, str]]:
    lines = [f"{kind['files']:,} x {kind['kind']}" for kind in kinds[:_MOST]]
    if len(kinds) > _MOST:
        lines.append(f"and {len(kinds) - _MOST} kinds more")
    return [(name if n == 0 else "", line) for n, line in enumerate(lines)]


def _durations(durations: Facts) -> list[tuple[str, str]]:
    values = {f"{float(q):.0%}": s for q, s in durations["quantiles"].items()}
    texts = [f"{name} {_seconds(value)}" for name, value in values.items()]
    histogram = durations["histogram"]
    edges, files = histogram["edges_s"], histogram["files"]
    top = max(files)
    bars = "".join(_BLOCKS[-(-8 * n // top)] for n in files)
    span = f"{_seconds(durations['min'])} to {_seconds(durations['max'])}"
    return [
        ("durations", f"{span}, mean {_seconds(durations['mean'])}; {', '.join(texts)}"),
        ("", f"{_seconds(edges[0])} {bars} {_seconds(edges[-1])}"),
    ]


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else hours_text(value / 3600)


def _parts(parts: list[Facts], form: str) -> str:
    texts = [
        f"{form.format(part['value'] or 'none')}: {counted_files(part['files'])}, "
        f"{hours_text(part['hours'])}"
        for part in parts[:_MOST]
    ]
    more = [f"{len(parts) - _MOST} more"] if len(parts) > _MOST else []
    return "; ".join(texts + more)


def _tokens(facts: Facts) -> list[tuple[str, str]]:
    entropy, codes, sizes = facts["entropy"], facts["codes"], facts["sizes"]
    star = "" if entropy["pair_coverage"] >= 0.9 else "*"
    rows = [
        (
            "entropy",
            f"{entropy['token_bits']:.2f} of {facts['bits_per_token']} bits a token; "
            f"{entropy['token_bits_after_previous']:.2f}{star} after the previous token",
        ),
        ("bits", " ".join(f"{bits:.2f}" for bits in entropy["bit_entropy"]) + " (entropy of each)"),
        (
            "codes",
            f"{codes['used']:,} of {codes['of']:,} used ({codes['used'] / codes['of']:.1%}); "
            f"perplexity {codes['perplexity']:,.0f}",
        ),
        (
            "most frequent",
            ", ".join(
                f"{code['token']} {code['share']:.1%}{' (silence)' * bool(code['silence'])}"
                for code in codes["most_frequent"][:5]
            ),
        ),
        ("silence", _silence(facts)),
        (
            "on disk",
            f"{sizes['bytes_per_token']:.2f} bytes a token, {size_text(sizes['shards_bytes'])} in "
            f"all; tokens alone {sizes['tokens_column_bytes_per_token']:.2f}; the sounds have "
            f"{size_text(sizes['sources_bytes'])}",
        ),
    ]
    return rows


def _silence(facts: Facts) -> str:
    silence = facts["silence"]
    if silence is None:
        return "not known: no model here has the dataset's fingerprint; --model names it"
    return (
        f"{silence['share']:.1%} of the tokens, {hours_text(silence['hours'])}; "
        f"{_little_else(silence['silent_files'])}"
    )


def _little_else(files: int) -> str:
    return f"{counted_files(files)} {'holds' if files == 1 else 'hold'} little else"
