"""Import every module of an installed package, compare them with the checkout, and export a model.

    cd /tmp && VENV/bin/python -I CHECKOUT/scripts/check_installed.py

The package must come from the installation: `-I` keeps the current folder out of the path. Where
this machine has a C compiler, the exported example codes a clip, and must agree with the package.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSIDE = ("kernels", "convert", "export", "live", "link", "cli")


def expected() -> set[str]:
    """Return the names of the modules in the checkout."""
    paths = [path for name in ("fcs_edge", *INSIDE) for path in (ROOT / name).rglob("*.py")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths}
    names = {name.removesuffix(".__init__") for name in names}
    return {n if n.split(".")[0] == "fcs_edge" else f"fcs_edge.{n}" for n in names}


def run(*command: object, cwd: Path) -> None:
    """Run a program of an export's folder; end with what it says where it fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"check_installed: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def try_export(folder: Path) -> str:
    """Export the built-in model for this CPU, and compare the example with the package."""
    from fcs_edge.kernels.isa import targets

    if targets.fitting() is None:
        return "no target is for this CPU: nothing was exported"
    package = (sys.executable, "-I", "-m", "fcs_edge.cli")
    run(*package, "export", "edge-65k", "out", "--target", "host", cwd=folder)
    compiler = shutil.which("cc")
    if compiler is None:
        return "the built-in model was exported; there is no C compiler to try it with"
    run(compiler, "-O2", "out/example.c", "out/libfcs.a", "-o", "example", cwd=folder)
    run(*package, "demo", cwd=folder)
    clip = "fcs-edge-demo.original.wav"
    run(*package, "encode", clip, "python.fcs", cwd=folder)
    run(*example("encode", clip, "c.fcs"), cwd=folder)
    for name in ("python", "c"):
        run(*package, "decode", f"{name}.fcs", f"{name}.npy", cwd=folder)
    run(*package, "decode", "c.fcs", "python.wav", cwd=folder)
    run(*example("decode", "c.fcs", "c.wav"), cwd=folder)
    differ = [kind for kind in ("npy", "wav") if not same(folder / f"python.{kind}")]
    if differ:
        sys.exit(f"check_installed: the example's {', '.join(differ)} differs from the package's")
    return "the exported example gives the tokens and samples of the package"


def example(command: str, *files: str) -> list[str]:
    """Return the command line of the exported example."""
    return ["./example", command, "-m", "out/model.fcsm", *files]


def same(path: Path) -> bool:
    """Return whether the package's tokens or samples equal those of the example."""
    import numpy as np
    import soundfile

    paths = path, path.with_name(f"c{path.suffix}")
    if path.suffix == ".npy":
        ours, theirs = (np.load(each) for each in paths)
    else:
        ours, theirs = (soundfile.read(each, dtype="int16")[0] for each in paths)
    return np.array_equal(ours, theirs)


def main() -> None:
    """Import them."""
    import fcs_edge

    package = Path(fcs_edge.__file__).parent
    if package.is_relative_to(ROOT / "fcs_edge"):
        sys.exit("check_installed: fcs_edge comes from the checkout")
    paths = [path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py")]
    installed = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    if installed != expected():
        different = ", ".join(sorted(installed ^ expected()))
        sys.exit(f"check_installed: the installation and the checkout differ in {different}")
    # Importing `__main__` would run the command.
    for name in sorted(n for n in installed if not n.endswith(".__main__")):
        importlib.import_module(name)
    print(f"all {len(installed)} modules of {package} can be imported")
    with tempfile.TemporaryDirectory() as work:
        print(try_export(Path(work)))


if __name__ == "__main__":
    main()
