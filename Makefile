# make demo and make test need only python3; they keep to .venv in this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(shell uname -m),aarch64)
OTHER_LD := x86_64-linux-gnu-ld
OTHER_BINUTILS := binutils-x86-64-linux-gnu
else
OTHER_LD := aarch64-linux-gnu-ld
OTHER_BINUTILS := binutils-aarch64-linux-gnu
endif
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PIP := -m pip install --disable-pip-version-check
# One more than there are cores: tests of live sound mostly wait. Each takes up to a gigabyte.
JOBS ?= $(shell n=$$(nproc); echo $$((n > 7 ? 8 : n + 1)))

.PHONY: demo test test-full test-oldest bench loops arm64 arm64-fingerprints arm64-native lint typecheck rules model \
    docs compiled wheel check clean clean-cache

demo: $(VENV)/.demo  ## install, and send a clip of speech through the codec
	$(BIN)/fcs-edge demo --force

# Kernels are compiled before the tests start, or each process would compile them.
test: $(VENV)/.test  ## install, and run all tests that need no download, on up to 8 cores
	FCS_EDGE_COMPILED=off $(BIN)/fcs-edge warmup
	$(BIN)/python -m pytest -n $(JOBS) $(PYTEST_ARGS)

test-full: $(VENV)/.test  ## the 249 M-weight model too: 4 GB of memory and of disk
	$(BIN)/python -m pytest --full $(PYTEST_ARGS)

# A shim of pyenv may be called python3.10 and be none. Old packages call what newer ones deprecate.
OLDEST := $(VENV)-oldest
test-oldest:  ## kernels, golden cases, fuzzing, commands and shards with the lowest versions of pyproject.toml
	@for python in python3.10 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.10*/bin/python3.10; do \
	    if "$$python" -c 'import ensurepip' 2>/dev/null; then \
	        exec $(MAKE) $(OLDEST)/.test OLDEST_PYTHON="$$python"; \
	    fi; \
	done; \
	echo 'test-oldest: there is no Python 3.10 with ensurepip here; nothing was tested'

$(OLDEST)/.test: FORCE
	test -x $(OLDEST)/bin/python || $(OLDEST_PYTHON) -m venv $(OLDEST)
	$(PYTHON) scripts/oldest_versions.py test > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python $(PIP) --quiet --constraint $(OLDEST)/constraints.txt --editable '.[test]'
	$(OLDEST)/bin/python -m pytest -n $(JOBS) -W default::DeprecationWarning tests/kernels tests/cli \
	    tests/fcs_edge/test_golden.py tests/fcs_edge/test_bitstream_fuzz.py \
	    tests/corpus/test_schema.py tests/corpus/test_storage.py tests/corpus/test_dataset.py \
	    tests/corpus/test_statistics.py tests/corpus/test_checking.py

.PHONY: FORCE

bench: $(VENV)/.test  ## time every kernel and the whole chunk
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

# The lists of tests/data/panel_loops, and the page and rates that llvm-mca computes. The oldest
# compiler is there after `make test-oldest`.
# `make loops GROW=--grow` lists more accesses to the stack too.
loops: $(VENV)/.dev  ## after a change of a microkernel that is meant
	$(BIN)/python scripts/loop_rates.py --record $(GROW)
	if [ -x $(OLDEST)/bin/python ]; then $(OLDEST)/bin/python scripts/loop_rates.py --record $(GROW); \
	    else echo 'loops: no $(OLDEST): its list is as it was'; fi
	$(BIN)/python scripts/loop_rates.py --write

# Checks on emulated Cortex-A76, A72 and A53: some minutes, root where QEMU is missing.
arm64: $(VENV)/.test
	scripts/arm64_smoke.sh

# Tokens and samples on these three, equal to the bit: a minute with the libraries of `make wheel`.
arm64-fingerprints: $(patsubst %,kernels/compiled/%.so,cortex-a53 cortex-a72 cortex-a76)
	scripts/arm64_smoke.sh --fingerprints

# A second of speech through the C library on these three.
arm64-native: $(patsubst %,kernels/compiled/%.so,cortex-a53 cortex-a72 cortex-a76)
	scripts/arm64_smoke.sh --native

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(VENV)/.dev  ## mypy --strict on the checkout: no wheel is needed
	$(BIN)/python scripts/check_types.py

rules:  ## names, prose, and the sizes of files
	$(PYTHON) scripts/check_names.py
	$(PYTHON) scripts/check_prose.py
	$(PYTHON) scripts/check_sizes.py

model:  ## check name, size and SHA-256 of the built-in model
	$(PYTHON) scripts/check_model.py

docs: $(VENV)/.docs  ## build the site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Kernels for the CPUs that a wheel has them for; other CPUs, and the sources, compile with Numba.
# C libraries for the same CPUs, and the modules of WebAssembly.
TARGETS := x86-64-v3 x86-64-v4-vnni cortex-a53 cortex-a72 cortex-a76
compiled: $(TARGETS:%=kernels/compiled/%.so) $(patsubst %,kernels/compiled/%.fcs/kernels.json,$(TARGETS) wasm)

SOURCES := $(wildcard kernels/*.py kernels/*/*.py) scripts/compile_kernels.py
C_SOURCES := $(wildcard export/native/*.[ch])

kernels/compiled/%.so: $(SOURCES) | $(VENV)/.dev linkers
	$(BIN)/python scripts/compile_kernels.py --target $*

# Two that share an instruction set share half of the work.
kernels/compiled/cortex-a53.so kernels/compiled/cortex-a72.so &: $(SOURCES) | $(VENV)/.dev linkers
	$(BIN)/python scripts/compile_kernels.py --target cortex-a53 --target cortex-a72

# So does the library that tests compare the modules with.
kernels/compiled/x86-64-v2-wasm.so: $(SOURCES) | $(VENV)/.dev linkers
	$(BIN)/python scripts/compile_kernels.py --target wasm --target x86-64-v2-wasm

# The lines above build the C libraries too. A change of the C sources leaves the kernels as they are.
kernels/compiled/%.fcs/kernels.json: kernels/compiled/%.so $(C_SOURCES) scripts/native_library.py
	$(BIN)/python scripts/native_library.py --target $*

kernels/compiled/wasm.fcs/kernels.json: kernels/compiled/x86-64-v2-wasm.so $(C_SOURCES) scripts/wasm_module.py
	$(BIN)/python scripts/wasm_module.py

.PHONY: linkers
linkers:
	@command -v ld >/dev/null && command -v $(OTHER_LD) >/dev/null || { \
	    echo 'a linker is missing: installing binutils with apt-get'; \
	    $(SUDO) apt-get update && $(SUDO) apt-get install --yes binutils $(OTHER_BINUTILS); }
	@$(PYTHON) scripts/toolchain.py >/dev/null 2>&1 || { \
	    echo 'clang or wasm-ld is missing: installing clang and lld with apt-get'; \
	    $(SUDO) apt-get update && $(SUDO) apt-get install --yes clang lld; }

# The installed command must run where the sources are not, and with no Numba where it can.
wheel: $(VENV)/.dev  ## three wheels: x86-64 and 64-bit ARM with kernels, the third for all others
	$(MAKE) -j2 compiled
	$(BIN)/python scripts/make_wheels.py dist
	$(BIN)/python scripts/check_wheel.py dist
	$(PYTHON) -m venv --clear $(VENV)-wheel
	rm -rf build/chosen
	$(VENV)-wheel/bin/python -m pip download --quiet --disable-pip-version-check \
	    --no-deps --no-index --find-links dist --dest build/chosen fcs-edge
	$(VENV)-wheel/bin/python $(PIP) --quiet build/chosen/*.whl
	cd /tmp && $(CURDIR)/$(VENV)-wheel/bin/python -I $(CURDIR)/scripts/check_installed.py
	cd /tmp && $(CURDIR)/$(VENV)-wheel/bin/fcs-edge info edge-65k
	cd /tmp && $(CURDIR)/$(VENV)-wheel/bin/python $(CURDIR)/scripts/fingerprints.py --check --aot --each
	cd /tmp && $(CURDIR)/$(VENV)-wheel/bin/fcs-edge warmup

check: lint typecheck rules model test

clean:
	rm -rf build dist kernels/compiled $(VENV) $(VENV)-wheel $(OLDEST) *.egg-info

# Numba notices a changed kernel, but not a changed helper that it was compiled with.
clean-cache:
	find . -name '*.nbi' -delete -o -name '*.nbc' -delete

$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo 'python3-venv is missing: installing it with apt-get'; \
	    $(SUDO) apt-get update && $(SUDO) apt-get install --yes python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: $(BIN)/python pyproject.toml
	@echo 'Installing fcs-edge and what it needs into $(VENV): a minute or two, up to 300 MB.'
	$(BIN)/python $(PIP) --editable '.[$(EXTRA)]'
	touch $@

$(VENV)/.demo: EXTRA := plot
$(VENV)/.test: EXTRA := test
$(VENV)/.dev: EXTRA := dev
$(VENV)/.docs: EXTRA := docs
