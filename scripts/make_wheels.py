"""Build three wheels: for x86-64 and 64-bit ARM with their kernels, and for all others without.

Each holds the libraries of C and the WebAssembly modules of every target: any machine exports for
any other.

    python scripts/make_wheels.py [FOLDER]

FOLDER, dist by default, is emptied first. `kernels/compiled` must hold all libraries
(`make compiled`). setuptools builds one wheel of the package. `wheel pack` then writes the three
from its content: it makes the names of the files and their RECORD.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fcs_edge.kernels.isa.targets import TARGETS
from fcs_edge.kernels.runtime import aot_library

ROOT = Path(__file__).resolve().parent.parent
COMPILED = Path("fcs_edge/kernels/compiled")
"""Where a wheel has its libraries."""

LIBRARIES = {
    architecture: {f"{t.name}.so" for t in TARGETS if t.architecture == architecture}
    for architecture in ("x86_64", "aarch64")
}
"""Libraries of each architecture that has a wheel of its own."""
EXPORTED = {
    **{f"{target.name}.fcs": ("kernels.json", "libfcs.a", "libfcs.so") for target in TARGETS},
    "wasm.fcs": ("fcs-relaxed.wasm", "fcs.wasm", "kernels.json"),
}
"""Files of each folder that `fcs-edge export` reads."""
MANYLINUX = "2_17"
"""The oldest glibc with a tag for both architectures. The libraries bind to no version of it."""


def platforms(architecture: str) -> list[str]:
    """Return the platform tags of a wheel: none but `any` without an architecture."""
    if not architecture:
        return ["any"]
    return [f"manylinux_{MANYLINUX}_{architecture}", f"manylinux2014_{architecture}"]


def run(*command: object) -> None:
    """Run a program of this Python, quiet where all goes well."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"make_wheels: {command[0]} failed\n{done.stdout}{done.stderr}")


def tag(metadata: Path, architecture: str) -> None:
    """Write into a wheel's WHEEL file for which systems it is."""
    replaced = ("Tag:", "Root-Is-Purelib:", "Build:")
    lines = [line for line in metadata.read_text().splitlines() if line]
    lines = [line for line in lines if not line.startswith(replaced)]
    lines.append(f"Root-Is-Purelib: {'false' if architecture else 'true'}")
    lines += [f"Tag: py3-none-{platform}" for platform in platforms(architecture)]
    metadata.write_text("\n".join(lines) + "\n\n")


def pack(unpacked: Path, architecture: str, folder: Path) -> None:
    """Write the wheel for an architecture; the wheel for all systems where it is empty."""
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work) / unpacked.name
        shutil.copytree(unpacked, tree)
        for library in (tree / COMPILED).glob("*.so"):
            if library.name not in LIBRARIES.get(architecture, ()):
                library.unlink()
                aot_library.record_of(library).unlink()
        (metadata,) = tree.glob("*.dist-info/WHEEL")
        tag(metadata, architecture)
        run("wheel", "pack", "--dest-dir", folder.resolve(), tree)


def main(folder: Path) -> None:
    """Build the wheels."""
    compiled = ROOT / "kernels" / "compiled"
    expected = set.union(*LIBRARIES.values())
    expected |= {f"{name}/{file}" for name, files in EXPORTED.items() for file in files}
    missing = {name for name in expected if not (compiled / name).is_file()}
    if missing:
        sys.exit(f"make_wheels: no {', '.join(sorted(missing))}; run `make compiled` first")
    # setuptools would take in what lies there from an earlier build.
    for stale in (folder, ROOT / "build" / "lib", *(ROOT / "build").glob("bdist.*")):
        shutil.rmtree(stale, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as work:
        run("build", "--wheel", "--outdir", work, ROOT)
        (built,) = Path(work).glob("*.whl")
        run("wheel", "unpack", "--dest", work, built)
        (unpacked,) = (path for path in Path(work).iterdir() if path.is_dir())
        for architecture in (*LIBRARIES, ""):
            pack(unpacked, architecture, folder)
    for path in sorted(folder.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist"))
