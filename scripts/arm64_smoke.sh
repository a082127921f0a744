#!/usr/bin/env bash
# Check the project on 64-bit ARM with no such machine: under QEMU, as three Raspberry Pis' cores.
#
#     scripts/arm64_smoke.sh [--cpus "cortex-a76 cortex-a72 cortex-a53"]
#         [--fingerprints | --count | --native] [FOLDER]
#
# Kernels are compiled on this machine, for each processor; the emulated one only runs them:
#
# - the tests of the kernels, with a library that also holds what only tests call;
# - the small golden cases, with the same library;
# - the fingerprints of tokens and samples (fingerprints.py), with the library of the wheel;
# - a second of speech through the command: the files must equal those made here to the bit;
# - the same through an exported C library: example.c, built for ARM, and libfcs.a;
# - on the first processor, a few tests that Numba compiles there.
#
# With --fingerprints, only these: they need no Numba and no pytest. On an ARM machine they run
# without emulation. With --count, only instructions per multiply-accumulate (arm64_count.py). With
# --native, only the C library: no Python runs under emulation.
#
# Emulation checks results and the choice of instructions. Its times say nothing about a board.
#
# FOLDER keeps the ARM system, packages and libraries between runs (400 MB; 110 MB for the
# fingerprints); it is ~/.cache/fcs-edge-arm64 by default. PYTHON, .venv/bin/python by default, is a
# Python here that has the project's dependencies and pip. Needs a Debian, and root where QEMU is to
# be installed.
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
    --count | --fingerprints | --native) what=${1#--} ;;
    -*) die "unknown option $1; see the head of $0" ;;
    *) work=$1 ;;
    esac
    shift
done

# The rest runs in other folders.
[[ $python != */* || $python == /* ]] || python=$PWD/$python

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

# What must multiply integers on each.
declare -A dot=([cortex-a76]=sdot [cortex-a72]=smlal [cortex-a53]=smlal)

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
        python3 libstdc++6
    local deb
    for deb in "$work"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$work/unpacked"
    done
    mv "$work/unpacked" "$work/system"
    rm -rf "$work/apt"
}

# A copy of this working tree, laid out as it is installed, and its dependencies for ARM.
install_project() {
    rm -rf "$work/tree" "$work/project"
    mkdir -p "$work/tree" "$work/project/fcs_edge" "$work/project/fcs_edge-0.dist-info"
    tar -C "$root" --exclude=./.git --exclude='./.venv*' --exclude=./build --exclude=./dist \
        --exclude='*.egg-info' --exclude=__pycache__ -c . | tar -C "$work/tree" -x
    ln -s "$work"/tree/fcs_edge/* "$work"/tree/{kernels,convert,export,live,link,cli} \
        "$work/project/fcs_edge/"
    printf '%s\n' 'Metadata-Version: 2.1' 'Name: fcs-edge' 'Version: 0' \
        >"$work/project/fcs_edge-0.dist-info/METADATA"
}

install_packages() { # FOLDER PACKAGE...
    cmp -s "$root/pyproject.toml" "$1/pyproject.toml" && return
    local version platforms=() tag
    version=$(readlink "$work/system/usr/bin/python3")
    for tag in manylinux_2_{28,27,26,17} manylinux2014; do
        platforms+=(--platform "${tag}_aarch64")
    done
    rm -rf "$1"
    "$python" -m pip install --quiet --disable-pip-version-check --no-compile \
        --target "$1" --only-binary=:all: --implementation cp \
        --python-version "${version#python}" "${platforms[@]}" "${@:2}"
    cp "$root/pyproject.toml" "$1/"
}

# Libraries that fit the sources stay; the others are compiled, the ones of the wheel here too.
compile_libraries() { # FOLDER OPTION...
    local missing
    mkdir -p "$1"
    cmp -s "$root/scripts/compile_kernels.py" "$1/compile_kernels.py" || rm -f "$1"/*.so
    (($# > 1)) || cp -ru "$root"/kernels/compiled/cortex-* "$1/" 2>/dev/null || true
    # shellcheck disable=SC2086 # a list of words
    missing=$(here -c "$stale" "$1" $cpus)
    # shellcheck disable=SC2086
    [[ -z $missing ]] || here "$root/scripts/compile_kernels.py" --without-c "${@:2}" $missing "$1"
    cp "$root/scripts/compile_kernels.py" "$1/"
}
stale='
import sys
from pathlib import Path
from fcs_edge.kernels.runtime import aot_library

def fits(path):
    try:
        data, record = path.read_bytes(), aot_library.record_of(path).read_bytes()
    except OSError:
        return False
    return not aot_library.difference(data, record, aot_library.sources_hash())

paths = [Path(sys.argv[1], f"{name}.so") for name in sys.argv[2:]]
print(*(f"--target {path.stem}" for path in paths if not fits(path)))
'

# Python as one processor. A folder a processor, so that they can run at once.
emulate() { # CPU ARGUMENT...
    local prefix=$work/cpu/$1
    PYTHONHOME=$work/system/usr PYTHONPATH=$work/project:$packages:$work/tree/scripts \
        PYTHONSAFEPATH=1 PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
        NUMBA_CACHE_DIR=$prefix/kernels NUMBA_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
        FCS_EDGE_COMPILED=$libraries \
        qemu-aarch64 -cpu "$1" -L "$prefix" ${plugin:+-plugin "$plugin"} \
        "$work/system/usr/bin/python3" "${@:2}"
}

prepare() { # CPU
    local prefix=$work/cpu/$1
    mkdir -p "$prefix/proc"
    ln -sfn "$work/system/usr" "$prefix/usr"
    ln -sfn "$work/system/lib" "$prefix/lib"
    cpuinfo "$1" >"$prefix/proc/cpuinfo"
    # fingerprints.py --aot makes sure of a library itself.
    [[ $what != fingerprints ]] || return 0
    local found
    found=$(emulate "$1" -c "$look")
    [[ $found == "$1 ${dot[$1]} False" ]] ||
        die "kernels are those of $found, not of a library for $1 ${dot[$1]}"
}
look='
from fcs_edge.kernels.isa import instructions
from fcs_edge.kernels.runtime import _jit, aot_library
print(aot_library.target(), instructions.chosen().int8_dot.name, _jit.uses_numba())
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
    here -m fcs_edge.cli encode -q --force "$work/clip/speech.wav" "$work/clip/here.fcs"
    here -m fcs_edge.cli encode -q --force "$work/clip/speech.wav" "$work/clip/here.npy"
    here -m fcs_edge.cli decode -q --force "$work/clip/here.npy" "$work/clip/here.wav"
}

here() {
    PYTHONPATH=$work/project:$work/tree/scripts PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 \
        NUMBA_CACHE_DIR=$work/cpu/here/kernels "$python" "$@"
}

fingerprints() { # CPU
    local start=$SECONDS
    prepare "$1"
    emulate "$1" "$work/tree/scripts/fingerprints.py" --check --aot
    echo "$1: tokens and samples have the expected fingerprints; $((SECONDS - start)) s"
}

check() { # CPU
    local start=$SECONDS tested clip=$work/clip
    fingerprints "$1"
    cd "$work/tree"
    # Left out: what Numba compiles, what starts other processes (QEMU 7.2 aborts where a fork of
    # several threads starts one), and minutes of threads.
    local tests left_out="softmax or to_half or transform or merged or interpreter"
    mapfile -t tests < <(grep -LE '^ *(import|from) (numba|llvmlite)' tests/kernels/test_*.py |
        grep -vE "damaged|aot_library|isa")
    tests+=(tests/kernels/test_{attention,peak,spectrum}.py)
    tests+=(tests/fcs_edge/test_{golden,stream_threads}.py)
    libraries=$work/libraries-for-tests emulate "$1" -m pytest -p arm64_library \
        -p no:cacheprovider "${tests[@]}" \
        -k "not ($left_out or forked or number_of or streams_on)"
    if [[ $1 == "${cpus%% *}" ]]; then
        libraries=off emulate "$1" -m pytest -p no:cacheprovider \
            tests/kernels/test_{panels,attention,sums}.py \
            -k "1-4-1 or 4] or stacks or to_half or one_order or rounds_once or reorders"
    fi
    tested=$SECONDS
    emulate "$1" -m fcs_edge.cli encode -q --force "$clip/speech.wav" "$clip/$1.npy"
    emulate "$1" -m fcs_edge.cli decode -q --force "$clip/here.npy" "$clip/$1.wav"
    cmp "$clip/here.npy" "$clip/$1.npy" || die "$1: other tokens than here"
    cmp "$clip/here.wav" "$clip/$1.wav" || die "$1: other samples than here"
    echo "$1: the tokens and samples of a second of speech are those made here"
    echo "$1: tests $((tested - start)) s, speech $((SECONDS - tested)) s"
    native "$1"
}

# The exported C library: a file of tokens and a sound, which must be those that are made here.
native() { # CPU
    local start=$SECONDS out=$work/exported/$1 clip=$work/clip run
    run=(qemu-aarch64 -cpu "$1" "$out/example")
    rm -rf "$out"
    mkdir -p "$work/exported"
    here -m fcs_edge.cli export -q edge-65k "$out" --target "$1"
    aarch64-linux-gnu-gcc -O2 -static "$out/example.c" "$out/libfcs.a" -o "$out/example"
    "${run[@]}" encode -m "$out/model.fcsm" "$clip/speech.wav" "$clip/$1-c.fcs"
    "${run[@]}" decode -m "$out/model.fcsm" "$clip/here.fcs" "$clip/$1-c.wav"
    cmp "$clip/here.fcs" "$clip/$1-c.fcs" || die "$1: the C library gives other tokens than here"
    same_sound "$clip/here.wav" "$clip/$1-c.wav" || die "$1: the C library gives another sound"
    echo "$1: the C library gives the tokens and samples made here; $((SECONDS - start)) s"
}

same_sound() { # WAV WAV
    "$python" -c '
import sys
import soundfile
one, other = (soundfile.read(path, dtype="int16")[0] for path in sys.argv[1:])
sys.exit(one.shape != other.shape or bool((one != other).any()))
' "$@"
}

# The C library of each processor, where the installation that exports looks for it.
build_native() { # FOLDER
    local cpu missing=()
    here "$root/scripts/toolchain.py" clang >/dev/null || install_here clang clang
    install_here aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    for cpu in $cpus; do
        here "$root/scripts/native_library.py" --target "$cpu" "$1" >/dev/null 2>&1 ||
            missing+=(--target "$cpu")
    done
    ((!${#missing[@]})) || here "$root/scripts/compile_kernels.py" "${missing[@]}" "$1"
    mkdir -p "$work/tree/kernels/compiled"
    for cpu in $cpus; do
        rm -rf "$work/tree/kernels/compiled/$cpu.fcs"
        cp -r "$1/$cpu.fcs" "$work/tree/kernels/compiled/"
    done
}

count() { # CPU
    prepare "$1"
    cc -O2 -shared -fPIC -o "$work/cpu/$1/icount.so" "$root/scripts/arm64_icount.c"
    plugin="$work/cpu/$1/icount.so,out=$work/cpu/$1/counts" \
        emulate "$1" "$root/scripts/arm64_count.py" "$work/cpu/$1/counts"
}

libraries=$work/libraries
packages=$work/packages
mapfile -t dependencies < <(sed -n '/^dependencies = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' "$root/pyproject.toml")
install_project
install_here aarch64-linux-gnu-ld binutils-aarch64-linux-gnu
[[ $what == native ]] || compile_libraries "$libraries"
if [[ $what == fingerprints && $(uname -m) == aarch64 ]]; then
    FCS_EDGE_COMPILED=$libraries here "$work/tree/scripts/fingerprints.py" --check --aot --each
    exit
fi

install_here qemu-aarch64 qemu-user
[[ $what == native ]] || make_system
case $what in
fingerprints)
    packages=$work/packages-for-fingerprints
    install_packages "$packages" numpy safetensors soundfile soxr
    ;;
check)
    install_packages "$packages" "${dependencies[@]}" pytest hypothesis pytest-benchmark
    compile_libraries "$work/libraries-for-tests" --tests
    make_reference
    build_native "$libraries"
    ;;
native)
    mkdir -p "$libraries"
    cp -ru "$root"/kernels/compiled/cortex-* "$libraries/" 2>/dev/null || true
    make_reference
    build_native "$libraries"
    ;;
count)
    install_packages "$packages" "${dependencies[@]}" pytest hypothesis pytest-benchmark
    install_here cc gcc libc6-dev
    echo '| processor | weights | instructions per MAC | without the call | most frequent |'
    echo '|---|---|---|---|---|'
    ;;
esac
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
