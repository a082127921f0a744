"""``fcs-edge corpus check``: whether a dataset of tokens is whole."""

from __future__ import annotations

from collections import Counter

import click

from fcs_edge.cli.options import common_options, dataset_model_option, refuse_unused
from fcs_edge.cli.ui.messages import MOST_OF_A_KIND, Messages
from fcs_edge.cli.ui.progress import spinner
from fcs_edge.corpus.checking import Checked, Fault
from fcs_edge.text import counted


@click.command()
@click.argument("dataset", metavar="DATASET")
@click.option(
    "--sources",
    is_flag=True,
    help="Check that the sounds are still there, of the same size and time.",
)
@click.option(
    "--again",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    help="Encode N rows anew and compare their tokens.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses the rows of --again.")
@dataset_model_option
@common_options
def check(
    dataset: str, sources: bool, again: int, seed: int, model: str | None, quiet: bool
) -> None:
    """Check that the files of DATASET are whole and belong together.

    DATASET is a folder that `fcs-edge corpus encode` wrote, or the URI of an object store. Each
    shard is read to its end: its SHA-256, its rows, their tokens and sums. All shards are of one
    model, all ids are different, and nothing is missing or left over.

    A line on standard output names each fault, and the exit code is 1.

    \b
    Examples:
      fcs-edge corpus check tokens/
      fcs-edge corpus check tokens/ --sources
      fcs-edge corpus check tokens/ --again 20
    """
    messages = Messages(quiet)
    refuse_unused(("--again", again > 0, ("seed", "model")))
    from fcs_edge.corpus.checking import check as check_dataset

    printed = _Faults()
    with spinner(messages, "Checking"):
        done = check_dataset(
            dataset,
            sources=sources,
            again=again,
            seed=seed,
            model=model,
            on_fault=printed.take,
        )
    printed.close()
    messages.note(_summary(done, sources))
    click.get_current_context().exit(done.exit_code)


class _Faults:
    """Prints faults, the first ones of each kind."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()

    def take(self, fault: Fault) -> None:
        """Print a fault, or count it."""
        from fcs_edge.corpus.error_groups import kind_of
        from fcs_edge.text import printable

        kind = kind_of(fault.message)
        self._kinds[kind] += 1
        if self._kinds[kind] <= MOST_OF_A_KIND:
            click.echo(printable(fault))

    def close(self) -> None:
        """Print how many were counted only."""
        for kind, number in self._kinds.items():
            if number > MOST_OF_A_KIND:
                click.echo(f"and {number - MOST_OF_A_KIND:,} more: {kind}")


def _summary(done: Checked, sources: bool) -> str:
    parts = [f"{done.rows:,} rows and {done.tokens:,} tokens in {counted(done.shards, 'shard')}"]
    if sources:
        parts.append(f"{counted(done.sources, 'source')} looked at")
    if done.again:
        parts.append(f"{counted(done.again, 'row')} encoded anew, {done.differing:,} differ")
    if done.stale:
        parts.append(f"{counted(done.stale, 'shard')} set aside in stale/")
    faults = f"{counted(done.n_faults, 'fault')}" if done.n_faults else "no fault"
    return f"{'; '.join(parts)}: {faults}"
