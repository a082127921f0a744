"""Link the WebAssembly modules from their kernels and from `export/native`.

`scripts/compile_kernels.py` calls it. Clang compiles the C sources, and wasm-ld links them.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import native_library
import toolchain
from fcs_edge.export import libraries
from fcs_edge.kernels.isa.targets import MODULES, Target

FILES = {target.name: f"{target.name.replace('wasm', 'fcs')}.wasm" for target in MODULES}
"""The module of each target."""

STACK = 256 << 10
"""Bytes. The stack comes first: where it overflows, the engine stops instead of writing on data."""

_SOURCES = ("fcs", "fcs_inside", "wasm", "self_test")
_COMPILE = (
    *("-std=c99", "-O2", "-ffreestanding", "-nostdlibinc", "-fno-builtin", "-ffp-contract=off"),
    *("-mbulk-memory", "-mnontrapping-fptoint", "-msign-ext", "-mmutable-globals"),
    *("-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Werror"),
)
_LINK = (
    *("--no-entry", "--export-dynamic", "--stack-first", "-z", f"stack-size={STACK}"),
    *("--gc-sections", "--strip-all", "-O2"),
)


def link(target: Target, kernels: bytes) -> bytes:
    """Return the module of a target, from the object file of its kernels."""
    options = (*_COMPILE, f"-DFCS_INT4_VECTORS={target.using.int4_vectors}")
    objects = {"kernels.o": kernels}
    for name in _SOURCES:
        source = libraries.NATIVE / f"{name}.c"
        objects[f"{name}.o"] = native_library.compiled(target.triple, source, options)
    with tempfile.TemporaryDirectory() as work:
        for name, data in objects.items():
            (Path(work) / name).write_bytes(data)
        command = [toolchain.tool("wasm-ld"), *_LINK, "-o", "module.wasm", *objects]
        subprocess.run(command, check=True, cwd=work)
        return (Path(work) / "module.wasm").read_bytes()
