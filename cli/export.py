"""``fcs-edge export``: a model as a C library, or as a page."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path

import click

from fcs_edge.cli.options import activations_option, common_options, force_option
from fcs_edge.cli.ui.messages import Messages
from fcs_edge.cli.ui.progress import spinner
from fcs_edge.modelfile.catalogue import find

_TARGETS = (
    *("x86-64-v3", "x86-64-v4-vnni", "cortex-a53", "cortex-a72", "cortex-a76", "wasm", "host"),
)


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("out", metavar="OUT")
@click.option(
    "--target",
    type=click.Choice(_TARGETS),
    help="What the export runs on, one of those above.  [required]",
)
@click.option(
    "--weights-inside", is_flag=True, help="Put the model inside the libraries: no model.fcsm."
)
@click.option("--one-file", "single", is_flag=True, help="With wasm: write index.html alone.")
@activations_option
@force_option
@common_options
def export(
    model: str,
    out: str,
    target: str | None,
    weights_inside: bool,
    single: bool,
    activations: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Export MODEL to the folder OUT, to run it without Python.

    MODEL is a model's name or file. For a CPU, OUT holds a C library for Linux, its headers,
    an example and the model. For wasm it holds a page that runs the model in a browser.

    On the same CPU a C library gives the tokens and samples of `fcs-edge`, to the bit. No
    compiler is necessary.

    \b
    Targets:
      x86-64-v3       AVX2 and FMA: most PCs
      x86-64-v4-vnni  AVX-512 and VNNI
      cortex-a53      Raspberry Pi 3, Zero 2 W
      cortex-a72      Raspberry Pi 4
      cortex-a76      Raspberry Pi 5
      wasm            browsers and Node
      host            the best one for this machine

    \b
    Examples:
      fcs-edge export edge-65k out --target host
      fcs-edge export 4k.safetensors board --target cortex-a53 --weights-inside
      fcs-edge export edge-65k page --target wasm --one-file
    """
    from fcs_edge.export.exporter import WASM, check_folder, target_of
    from fcs_edge.export.exporter import export as write

    if target is None:
        raise click.UsageError(f"Missing option '--target': give one of {', '.join(_TARGETS)}.")
    messages = Messages(quiet)
    if target == WASM and weights_inside:
        raise click.UsageError("--weights-inside is for C libraries: with wasm use --one-file.")
    if target != WASM and single:
        raise click.UsageError("--one-file goes with --target wasm.")
    folder = Path(out)
    check_folder(folder, force)
    source = find(model)
    if activations is not None:
        source = source.with_activations(activations)
    with spinner(messages, f"Exporting {source.name} ..."):
        written = write(
            *(source, folder, target_of(target)),
            weights_inside=weights_inside,
            single=single,
            force=force,
        )
    for name, size in written.sizes.items():
        messages.note(f"{folder / name}: {size:,} bytes")
    messages.note(f"{source.name} for {written.target}; {_next(folder, written.target, single)}")


def _next(folder: Path, target: str, single: bool) -> str:
    """Return what to do with an export."""
    quoted = shlex.quote(str(folder))
    if target != "wasm":
        return f"next: {_compiler(target)} -O2 {quoted}/example.c {quoted}/libfcs.a -o example"
    if single:
        return f"next: open {quoted}/index.html in a browser"
    return f"next: python3 -m http.server -d {quoted}"


def _compiler(target: str) -> str:
    """Return the C compiler of a CPU: this machine's, or Debian's name of a cross compiler."""
    family = "aarch64" if target.startswith("cortex") else "x86_64"
    is_own = (platform.system(), platform.machine()) == ("Linux", family)
    return "cc" if is_own else f"{family}-linux-gnu-gcc"
