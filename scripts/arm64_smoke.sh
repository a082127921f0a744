#!/usr/bin/env bash
# Check the project on 64-bit ARM with no such machine: under QEMU, as three Raspberry Pis' cores.
#
#     scripts/arm64_smoke.sh [--cpus "cortex-a76 cortex-a72 cortex-a53"] [--count] [FOLDER]
#
# For each processor: the tests of the kernels, assertions on instructions among them; the small
# golden cases; and a second of speech through the installed command, with the kernels compiled
# ahead for that processor, compared with the same here.
# With --count, only instructions per multiply-accumulate instead (arm64_count.py).
#
# Emulation checks results and the choice of instructions. Its times say nothing about a board.
#
# FOLDER keeps the ARM system, the wheels and compiled kernels between runs (400 MB); it is
# ~/.cache/fcs-edge-arm64 by default. PYTHON, .venv/bin/python by default, is a Python here that
# has the project's dependencies and pip. Needs a Debian, and root where QEMU is to be installed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=${XDG_CACHE_HOME:-$HOME/.cache}/fcs-edge-arm64
cpus="cortex-a76 cortex-a72 cortex-a53"
what=check

die() {
    echo "arm64_smoke: $*" >&2
    exit 1
}

while (($#)); do
    case $1 in
    --cpus) cpus=${2:?--cpus needs a list of processors}; shift ;;
    --count) what=count ;;
    -*) die "unknown option $1; see the head of $0" ;;
    *) work=$1 ;;
    esac
    shift
done

# The kernel's words for what a processor can do. Numba compiles for the one that LLVM reads there;
# code that wrongly needs another one's instructions dies of SIGILL.
cpuinfo() {
    local base="fp asimd evtstrm crc32 cpuid" features part
    case $1 in
    cortex-a76)
        part=d0b
        features="$base aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
        ;;
    cortex-a72) part=d08 features=$base ;;
    cortex-a53) part=d03 features=$base ;;
    *) die "unknown processor $1" ;;
    esac
    printf '%s\t: %s\n' processor 0 BogoMIPS 108.00 Features "$features" 'CPU implementer' 0x41 \
        'CPU architecture' 8 'CPU variant' 0x0 'CPU part' "0x$part" 'CPU revision' 1
}

# What must multiply integers on each, and the tests to leave out for being those of another.
declare -A dot=([cortex-a76]=sdot [cortex-a72]=smlal [cortex-a53]=smlal)
declare -A others=([cortex-a76]="and not neon" [cortex-a72]="" [cortex-a53]="")

for cpu in $cpus; do cpuinfo "$cpu" >/dev/null; done
work=$(realpath -m "$work")
[[ $work/ != "$(realpath "$root")"/* ]] || die "$work is inside the repository"
mkdir -p "$work"
"$python" -c 'import numba, pip, soundfile' ||
    die "$python lacks the project's dependencies: make test, or set PYTHON"
# Not in the working tree: its fcs_edge/ is a part of the package only.
cd "$work"

install_here() { # COMMAND PACKAGE...
    command -v "$1" >/dev/null && return
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends "${@:2}" >/dev/null
}

# A Python for ARM, unpacked by the side of this system: apt with a state of its own reads this
# system's sources for the other architecture, and nothing of it runs but under QEMU.
make_system() {
    [[ -x $work/system/usr/bin/python3 ]] && return
    rm -rf "$work/apt" "$work/unpacked"
    mkdir -p "$work"/apt/{state/lists,cache/archives}/partial "$work/unpacked"
    : >"$work/apt/status"
    local apt=(
        apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
        -o Dir::State="$work/apt/state" -o Dir::State::status="$work/apt/status"
        -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root -o Debug::NoLocking=1
    )
    "${apt[@]}" update
    "${apt[@]}" install --yes --no-install-recommends --download-only \
        python3 libstdc++6 libgomp1 libportaudio2
    local deb
    for deb in "$work"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$work/unpacked"
    done
    mv "$work/unpacked" "$work/system"
    rm -rf "$work/apt"
}

# The project as users get it: a wheel of this working tree, with its dependencies for ARM.
install_project() {
    rm -rf "$work/tree" "$work/wheel" "$work/new"
    mkdir "$work/tree"
    tar -C "$root" --exclude=./.git --exclude='./.venv*' --exclude=./build --exclude=./dist \
        --exclude='*.egg-info' --exclude=__pycache__ -c . | tar -C "$work/tree" -x
    "$python" -m pip wheel --quiet --no-deps --wheel-dir "$work/wheel" "$work/tree"
    "$python" -m zipfile -e "$work"/wheel/*.whl "$work/new"

    if ! cmp -s "$root/pyproject.toml" "$work/packages/pyproject.toml"; then
        local version platforms=() tag
        version=$(readlink "$work/system/usr/bin/python3")
        for tag in manylinux_2_{28,27,26,17} manylinux2014; do
            platforms+=(--platform "${tag}_aarch64")
        done
        rm -rf "$work/packages"
        "$python" -m pip install --quiet --disable-pip-version-check --no-compile \
            --target "$work/packages" --only-binary=:all: --implementation cp \
            --python-version "${version#python}" "${platforms[@]}" \
            "$work"/wheel/*.whl pytest hypothesis pytest-benchmark
        rm -rf "$work"/packages/fcs_edge*
        cp "$root/pyproject.toml" "$work/packages/"
    fi

    # Numba does not notice a changed helper in another file: with any change all kernels go.
    if ! diff -rq --exclude='*.dist-info' --exclude=compiled "$work/new" "$work/project" &>/dev/null
    then
        rm -rf "$work/project" "$work"/cpu/*/kernels
        local compile=("$python" "$root/scripts/compile_kernels.py") cpu
        for cpu in cortex-{a76,a72,a53}; do
            PYTHONPATH=$work/new PYTHONSAFEPATH=1 "${compile[@]}" --target "$cpu" \
                "$work/new/fcs_edge/kernels/compiled"
        done
        mv "$work/new" "$work/project"
    fi
}

# Python as one processor. A folder a processor, so that they can run at once.
emulate() { # CPU ARGUMENT...
    local prefix=$work/cpu/$1
    PYTHONHOME=$work/system/usr PYTHONPATH=$work/project:$work/packages PYTHONSAFEPATH=1 \
        PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=$prefix/kernels \
        NUMBA_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
        qemu-aarch64 -cpu "$1" -L "$prefix" ${plugin:+-plugin "$plugin"} \
        "$work/system/usr/bin/python3" "${@:2}"
}

prepare() { # CPU
    local prefix=$work/cpu/$1
    mkdir -p "$prefix/proc"
    ln -sfn "$work/system/usr" "$prefix/usr"
    ln -sfn "$work/system/lib" "$prefix/lib"
    cpuinfo "$1" >"$prefix/proc/cpuinfo"
    local found
    found=$(emulate "$1" -c "$look")
    [[ $found == "$1 ${dot[$1]}" ]] || die "kernels are made for $found, not for $1 ${dot[$1]}"
    found=$(emulate "$1" -c "$aot")
    [[ $found == "$1 False" ]] || die "kernels of $1 were not taken: $found"
}
look='
from llvmlite import binding
from fcs_edge.kernels.isa import instructions
print(binding.get_host_cpu_name(), instructions.chosen().int8_dot)
'
aot='
from fcs_edge.kernels.runtime import _jit, aot_library
print(aot_library.target(), _jit.uses_numba())
'

# Here: a second of speech, its tokens, and what they decode to.
make_reference() {
    mkdir -p "$work/clip"
    "$python" - "$root/tests/data/251-118436-0003.flac" "$work/clip/speech.wav" <<'PY'
import sys

import soundfile

signal, rate = soundfile.read(sys.argv[1], frames=16000, start=16000, dtype="float32")
soundfile.write(sys.argv[2], signal, rate)
PY
    here -m fcs_edge.cli encode -q --force "$work/clip/speech.wav" "$work/clip/here.npy"
    here -m fcs_edge.cli decode -q --force "$work/clip/here.npy" "$work/clip/here.wav"
}

here() {
    PYTHONPATH=$work/project PYTHONSAFEPATH=1 NUMBA_CACHE_DIR=$work/cpu/here/kernels "$python" "$@"
}

# Floats are summed in another order on every processor: a latent next to zero may change its sign.
compare() { # CPU
    here - "$work/clip" "$1" <<'PY'
import sys
from pathlib import Path

import numpy as np
import soundfile

import fcs_edge

LEAST_BITS, MOST_DIFFERENT = 0.99, 1e-3
folder, cpu = Path(sys.argv[1]), sys.argv[2]
mine, theirs = (np.load(folder / f"{name}.npy") for name in ("here", cpu))
bits = mine.size * fcs_edge.load().bits_per_token
same = 1 - sum(int(a ^ b).bit_count() for a, b in zip(mine, theirs, strict=True)) / bits
mine, theirs = (soundfile.read(folder / f"{name}.wav")[0] for name in ("here", cpu))
worst = abs(mine - theirs).max()
print(f"tokens: {same:.2%} of {bits} bits as here; samples of the same tokens within {worst:.1e}")
sys.exit(int(same < LEAST_BITS or worst > MOST_DIFFERENT))
PY
}

check() { # CPU
    local start=$SECONDS tested clip=$work/clip
    prepare "$1"
    cd "$work/tree"
    # Compiling under emulation takes the time. Left out: what says nothing of a processor (that
    # kernels allocate nothing); the plain loops; the kernels element by element, which the golden
    # cases run; where there are dot products, the kernels without.
    local tests=(tests/kernels/test_{compiled,linear,panels,attention,depthwise}.py)
    # Its instructions are the A72's: one test of values for each type of weights.
    [[ $1 != cortex-a53 ]] || tests=(
        tests/kernels/test_{compiled.py,linear.py::test_windows_overlap_or_leave_gaps}
    )
    emulate "$1" -m pytest -p no:cacheprovider "${tests[@]}" tests/fcs_edge/test_golden.py \
        -k "not allocates and not plain ${others[$1]}"
    tested=$SECONDS
    emulate "$1" -m fcs_edge.cli encode -q --force "$clip/speech.wav" "$clip/$1.npy"
    emulate "$1" -m fcs_edge.cli decode -q --force "$clip/here.npy" "$clip/$1.wav"
    compare "$1"
    echo "$1: tests $((tested - start)) s, speech $((SECONDS - tested)) s"
}

count() { # CPU
    prepare "$1"
    cc -O2 -shared -fPIC -o "$work/cpu/$1/icount.so" "$root/scripts/arm64_icount.c"
    plugin="$work/cpu/$1/icount.so,out=$work/cpu/$1/counts" \
        emulate "$1" "$root/scripts/arm64_count.py" "$work/cpu/$1/counts"
}

install_here qemu-aarch64 qemu-user
install_here aarch64-linux-gnu-ld binutils-aarch64-linux-gnu
make_system
install_project
if [[ $what == check ]]; then
    make_reference
else
    install_here cc gcc libc6-dev
    echo '| processor | weights | instructions per MAC | without the call | most frequent |'
    echo '|---|---|---|---|---|'
fi
echo "arm64_smoke: ready after $SECONDS s; $(qemu-aarch64 --version | head -n 1)" >&2

# All at once, each to a log of its own: compiling under emulation is most of the work. Each is a
# process group, so that none stays behind when this is interrupted.
declare -A running=()
set -m
# Where all have ended there is nothing to kill, and that is no failure.
trap 'kill -- "${running[@]/#/-}" 2>/dev/null || true' EXIT
for cpu in $cpus; do
    "$what" "$cpu" >"$work/$cpu.log" 2>&1 </dev/null &
    running[$cpu]=$!
done
failed=
for cpu in $cpus; do
    wait "${running[$cpu]}" || failed+=" $cpu"
    cat "$work/$cpu.log"
done
echo "arm64_smoke: $SECONDS s in all" >&2
[[ -z $failed ]] || die "failed:$failed"
