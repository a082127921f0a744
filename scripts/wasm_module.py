"""Link the WebAssembly modules from their kernels and from `export/native`.

    python scripts/wasm_module.py [FOLDER]

`scripts/compile_kernels.py` calls it. On its own it compiles the C sources anew, and takes the
kernels from FOLDER, kernels/compiled by default. Clang compiles, and wasm-ld links.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import native_library

import toolchain
from fcs_edge.export import libraries
from fcs_edge.files import creating
from fcs_edge.kernels.isa.targets import MODULES, Target
from fcs_edge.kernels.runtime import aot_library

FILES = {target.name: f"{target.name.replace('wasm', 'fcs')}.wasm" for target in MODULES}
"""The module of each target."""
KERNELS = "{}.kernels.o"
"""The object file of a target's kernels, beside the folder of the modules."""

STACK = 256 << 10
"""Bytes. The stack comes first: where it overflows, the engine stops instead of writing on data."""

_SOURCES = ("fcs", "fcs_inside", "wasm", "self_test")
COMPILE = (
    *("-std=c99", "-O2", "-ffreestanding", "-nostdlibinc", "-fno-builtin", "-ffp-contract=off"),
    *("-mbulk-memory", "-mnontrapping-fptoint", "-msign-ext", "-mmutable-globals"),
    *("-ffunction-sections", "-fdata-sections"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"),
)
LINK = (
    *("--no-entry", "--export-dynamic", "--stack-first", "-z", f"stack-size={STACK}"),
    *("--gc-sections", "--strip-all", "-O2"),
)


def link(target: Target, kernels: bytes) -> bytes:
    """Return the module of a target, from the object file of its kernels."""
    options = (*COMPILE, f"-DFCS_INT4_VECTORS={target.using.int4_vectors}")
    objects = {native_library.KERNELS: kernels}
    for name in _SOURCES:
        source = libraries.NATIVE / f"{name}.c"
        objects[f"{name}.o"] = native_library.compiled(target.triple, source, options)
    with tempfile.TemporaryDirectory() as work:
        for name, data in objects.items():
            (Path(work) / name).write_bytes(data)
        command = [str(toolchain.tool("wasm-ld")), *LINK, "-o", "module.wasm", *objects]
        subprocess.run(command, check=True, cwd=work)
        return (Path(work) / "module.wasm").read_bytes()


def build(
    kernels: dict[str, bytes], listed: list[tuple[str, str]], identity: bytes, folder: Path
) -> Path:
    """Write the modules and their record, and keep the kernels' object files beside them.

    Parameters
    ----------
    kernels : dict of str to bytes
        The object file of each target's kernels.
    listed : list of (str, str)
        Name and types of each kernel, in the order of the table.
    identity : bytes
        Eight bytes that name the kernels.
    folder : Path
        Where the folder of the modules goes.
    """
    modules = {FILES[target.name]: link(target, kernels[target.name]) for target in MODULES}
    built = native_library.write(libraries.MODULE, modules, listed, identity, folder)
    for name, data in kernels.items():
        with creating(folder / KERNELS.format(name)) as out:
            out.write(data)
    return built


def main() -> None:
    """Compile the C sources of the modules anew; the kernels must fit their sources."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=aot_library.FOLDER)
    folder = parser.parse_args().folder
    facts = json.loads((folder / f"{libraries.MODULE}.fcs" / libraries.RECORD).read_text())
    if facts["sources"] != aot_library.sources_hash():
        sys.exit(f"wasm_module: the kernels in {folder} are of other sources: compile them")
    kernels = {t.name: (folder / KERNELS.format(t.name)).read_bytes() for t in MODULES}
    listed = [(name, types_) for name, types_ in facts["kernels"]]
    print(build(kernels, listed, bytes.fromhex(facts["id"]), folder))


if __name__ == "__main__":
    main()
