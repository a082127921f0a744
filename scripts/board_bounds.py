"""What bounds four Raspberry Pis: clocks, memory, instructions; and the judgement beside them.

Every constant names its source: a public measurement, or a command that repeats it. The shares in
`EFFICIENCY`, `OVERLAP` and `SIDE` are judgement. The measurements that they were judged by stand
beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

CASES = ("good", "middle", "bad")
Three = tuple[float, float, float]
"""A value in each of `CASES`."""


@dataclass(frozen=True)
class Bound:
    """A value in each case, and where it is from."""

    values: Three
    source: str


_TINYMEMBENCH = "tinymembench in ThomasKaiser/sbc-bench, results/"
_STREAM = "STREAM, read only, in ggml-org/llama.cpp#26484"
_LATENCY = "https://github.com/ocxtal/insn_bench_aarch64, results/"


@dataclass(frozen=True)
class Core:
    """A core and its instructions per cycle, measured on silicon."""

    name: str
    """As in `loop_rates.json`."""
    title: str
    dispatch: Three
    """Micro-ops that llvm-mca dispatches in a cycle."""
    per_cycle: dict[str, float]
    """Instructions of a kind per cycle; an instruction that is absent has none."""
    source: str
    efficiency: Bound
    """Share of the loop's rate that a layer reaches."""
    side: Bound
    """float32 multiply-accumulates per cycle of all that is no loop with a known rate."""

    def most(self, loop: str) -> float:
        """Return the multiply-accumulates per cycle that the multiplying instructions allow."""
        at = self.per_cycle
        if "float" in loop:
            return 4 * at["fmla.s"]
        if loop == "int8":
            # Activations of 12 bits are two parts of 8, or 16-bit lanes.
            return 16 * at["sdot"] / 2 if "sdot" in at else 4 * at["smlal.s"]
        if "sdot" in at:
            return 16 * at["sdot"]
        # smull and smlal2 make 16 products; int8 by int8 adds a sadalp for them.
        pairs = 2 / at["smull.h"]
        both = max(pairs, 1 / at["sadalp"]) if at["sadalp"] >= 1 else pairs + 1 / at["sadalp"]
        return 16 / (pairs if loop == "int4" else both)


_EFFICIENT = (
    "judgement, by: OpenBLAS reaches 81 % of one Cortex-A76 (OpenMathLib/OpenBLAS#4581); an int8 "
    "dot product with one output at a time 67 % (mudler/vllm.cpp#623)"
)
_IN_ORDER = "judgement, as for Cortex-A76; fewer loads and multiplies overlap, so less is lost"
_SIDE = (
    "judgement, by: GELU takes 32 to 76 cycles for 4 elements on Cortex-A76 (llvm-mca -mcpu="
    "neoverse-n1), 1.6 to 3.8 multiply-accumulates a cycle. Convolutions by channel have their own "
    "rate where loop_rates.json has it"
)

A76 = Core(
    "cortex-a76",
    "Cortex-A76",
    (4, 4, 3),
    {"fmla.s": 2, "sdot": 2, "smull.h": 1, "smlal.s": 1, "sadalp": 1},
    f"{_LATENCY}aws_graviton2.md (Neoverse N1, taken for Cortex-A76)",
    Bound((0.9, 0.75, 0.55), _EFFICIENT),
    Bound((6, 4, 2.5), _SIDE),
)
A72 = Core(
    "cortex-a72",
    "Cortex-A72",
    (3, 3, 3),
    {"fmla.s": 1, "smull.h": 1, "smlal.s": 1, "sadalp": 1},
    f"{_LATENCY}nxp_lx2160a_a72.md",
    Bound((0.95, 0.82, 0.65), _IN_ORDER),
    Bound((3.5, 2.5, 1.6), _SIDE),
)
A53 = Core(
    "cortex-a53",
    "Cortex-A53",
    (2, 2, 2),
    {"fmla.s": 1, "smull.h": 1, "smlal.s": 1, "sadalp": 0.5},
    f"{_LATENCY}raspberry-pi-3_cortex-a53.md",
    Bound((0.95, 0.85, 0.7), _IN_ORDER),
    Bound((3, 1.6, 1.0), _SIDE),
)
CORES = (A76, A72, A53)

OVERLAP = Bound(
    (1, 0.7, 0.3),
    "judgement: the share of the shorter of arithmetic and reading that the longer one hides",
)

JOIN_US = 0.18
JOIN_SOURCE = (
    "two messages of 90 ns between cores of a Raspberry Pi 4 (nviennot/core-to-core-latency#44)"
)
"""Microseconds to hand half of a product to another core and to take its answer."""


@dataclass(frozen=True)
class Board:
    """A board at one clock."""

    name: str
    core: Core
    ghz: float
    clock_source: str
    read: Bound
    """GB/s that one core reads."""
    shared: Bound
    """GB/s that two cores or more read together."""
    memory: tuple[float, ...]
    """Sizes on sale, GB."""
    models: tuple[str, ...]
    """How `/proc/device-tree/model` of such a board begins."""


_PI_5_READ = Bound(
    (11, 9.5, 7.5),
    f"9.3 with one thread ({_STREAM}); 8.9 and 14.0 with loads of 8 and 32 bytes "
    f"({_TINYMEMBENCH}Au3jaA.txt)",
)
_PI_5_SHARED = Bound(
    (10.3, 10.3, 10.3),
    "9.8 to 10.6 in decoding with four threads (ggml-org/llama.cpp#26484); 13.2 and 11.6 with two "
    "and four threads (STREAM, there)",
)
_PI_4_READ = Bound(
    (4.3, 4.0, 3.4), f"4.3, and 3.9 for two streams at once ({_TINYMEMBENCH}3EgS.txt)"
)
_PI_4_SHARED = Bound((4.3, 4.0, 3.4), "one core's: no measurement of more was found")
_PI_3_READ = Bound(
    (2.3, 2.1, 1.7), f"2.1 to 2.4, and 1.6 to 1.9 for two streams ({_TINYMEMBENCH}1iI5.txt)"
)
_ZERO_READ = Bound(
    (2.3, 2.1, 1.7), f"2.1 to 2.3, and 2.0 to 2.1 for two streams ({_TINYMEMBENCH}3E85.txt)"
)
_A53_SHARED = Bound((2.3, 2.1, 1.7), "one core's: no measurement of more was found")
_CLOCK = "https://www.raspberrypi.com/products/"
_PI_4 = ("Raspberry Pi 4", "Raspberry Pi Compute Module 4")
_PI_3 = ("Raspberry Pi 3", "Raspberry Pi Compute Module 3")

BOARDS = (
    Board(
        "Raspberry Pi 5",
        A76,
        2.4,
        f"{_CLOCK}raspberry-pi-5/",
        _PI_5_READ,
        _PI_5_SHARED,
        (2, 4, 8, 16),
        ("Raspberry Pi 5", "Raspberry Pi Compute Module 5"),
    ),
    Board(
        "Raspberry Pi 4",
        A72,
        1.8,
        f"{_CLOCK}raspberry-pi-4-model-b/ (1.8 GHz with recent firmware)",
        _PI_4_READ,
        _PI_4_SHARED,
        (1, 2, 4, 8),
        _PI_4,
    ),
    Board(
        "Raspberry Pi 4",
        A72,
        1.5,
        f"{_CLOCK}raspberry-pi-4-model-b/ (early boards)",
        _PI_4_READ,
        _PI_4_SHARED,
        (1, 2, 4, 8),
        _PI_4,
    ),
    Board(
        "Raspberry Pi 3",
        A53,
        1.4,
        f"{_CLOCK}raspberry-pi-3-model-b-plus/",
        _PI_3_READ,
        _A53_SHARED,
        (1,),
        _PI_3,
    ),
    Board(
        "Raspberry Pi 3",
        A53,
        1.2,
        f"{_CLOCK}raspberry-pi-3-model-b/",
        _PI_3_READ,
        _A53_SHARED,
        (1,),
        _PI_3,
    ),
    Board(
        "Raspberry Pi Zero 2 W",
        A53,
        1.0,
        f"{_CLOCK}raspberry-pi-zero-2-w/",
        _ZERO_READ,
        _A53_SHARED,
        (0.5,),
        ("Raspberry Pi Zero 2",),
    ),
)

PROCESS_MB = 60
PROCESS_SOURCE = "fcs-edge bench, 'before the model', with compiled kernels on x86-64"
"""The interpreter and the libraries."""
SYSTEM_MB = 200
SYSTEM_SOURCE = "197 MiB in use on a board of 512 MB (geerlingguy/sbc-reviews#98)"
"""Memory for the operating system."""
