"""Describes this machine as the operating system reports it: processor, caches, memory."""

from __future__ import annotations

import os
import platform
import re
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fcs_edge.kernels.gemm import peak
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.runtime import _jit, aot_library

_FEATURES = re.compile(
    r"sse2|ssse3|sse4[._]1|avx|avx2|avx_?vnni|fma|f16c|avx512(f|bw|vl|_?vnni)|"
    r"asimd|asimddp|asimdhp|i8mm|bf16|sve"
)
"""CPU features that matter to matrix products, as Linux or LLVM names them."""
_ASSUMED_CACHE = 32 << 20
DEVICE_TREE_MODEL = Path("/proc/device-tree/model")
HIGHEST_CLOCK = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
"""In kHz."""
_ASSUMED_MEMORY = 512 << 20


def facts() -> dict[str, Any]:
    """Return the machine, its kernels and the installed versions, as JSON."""
    using = instructions.chosen()
    return {
        "cpu": _cpu_name(),
        "board": _text(DEVICE_TREE_MODEL).rstrip("\0") or None,
        "clock_ghz": _clock(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "features": _features(),
        "memory_bytes": _meminfo("MemTotal"),
        "memory_available_bytes": memory_available(),
        "last_level_cache_bytes": last_level_cache(),
        "kernels": instructions.CHOICE,
        "kernels_compiled": "by Numba" if uses_numba() else f"ahead, for {aot_library.target()}",
        "kernels_available": list(instructions.available()),
        "limits_measured_with": using.name,
        "int8_instruction": using.int8_dot.name,
        "int4_instruction": using.int4_dot.name,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "numba": version("numba"),
        "llvmlite": version("llvmlite"),
    }


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_available() -> int:
    """Return the bytes of available memory; 512 MB if the system does not report it."""
    return _meminfo("MemAvailable") or _ASSUMED_MEMORY


def last_level_cache() -> int:
    """Return the bytes of the largest cache; 32 MB if the system does not report it."""
    sizes = [_text(path) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("*/size")]
    units = {"K": 1 << 10, "M": 1 << 20}
    reported = [
        int(s.strip()[:-1]) * units[s.strip()[-1]] for s in sizes if re.match(r"\d+[KM]", s)
    ]
    return max(reported, default=_ASSUMED_CACHE)


def memory_used() -> tuple[int, int]:
    """Return this process's memory in bytes: the peak, and the current value."""
    status = _text("/proc/self/status")
    # getrusage is no substitute: a forked process starts at the peak of its parent.
    peak, now = (re.search(rf"^{key}:\s+(\d+) kB", status, re.M) for key in ("VmHWM", "VmRSS"))
    if peak and now:
        return int(peak[1]) << 10, int(now[1]) << 10
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    most = most if sys.platform == "darwin" else most << 10
    return most, most


def uses_numba() -> bool:
    """Return whether Numba compiles the kernels; otherwise a compiled library has them."""
    return _jit.uses_numba()


def kernel_cache() -> str | None:
    """Return the folder that compiled kernels go to; None where none takes them."""
    if not uses_numba():
        return str(aot_library.folder())
    kernel: Any = peak.read
    path: str | None = kernel.stats.cache_path
    return path


def library_was_reported() -> None:
    """Print no warning about a damaged library: the process that started this one has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _jit.warn_of_library()


def _cpu_name() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.M)
    return match[1].strip() if match else platform.processor() or "unknown"


def _clock() -> float | None:
    """Return the highest clock of the first core in GHz, where the system reports it."""
    text = _text(HIGHEST_CLOCK).strip()
    return int(text) / 1e6 if text.isdecimal() else None


def _features() -> list[str]:
    return sorted(name for name in instructions.cpu_flags() if _FEATURES.fullmatch(name))


def _meminfo(key: str) -> int | None:
    match = re.search(rf"^{key}:\s+(\d+) kB", _text("/proc/meminfo"), re.M)
    return int(match[1]) << 10 if match else None


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
