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
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-full bench arm64 lint typecheck compiled wheel check clean clean-cache

demo: $(VENV)/.demo  ## install, and send a clip of speech through the codec
	$(BIN)/fcs-edge demo --force

test: $(VENV)/.test  ## install, and run all tests that need no download
	$(BIN)/python -m pytest

test-full: $(VENV)/.test  ## the 249 M-weight model too: 4 GB of memory and of disk
	$(BIN)/python -m pytest --full $(PYTEST_ARGS)

bench: $(VENV)/.test  ## time every kernel and the whole chunk
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

# Checks on emulated Cortex-A76, A72 and A53: some minutes, root where QEMU is missing.
arm64: $(VENV)/.test
	scripts/arm64_smoke.sh

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .


# Kernels for the CPUs that a wheel has them for; other CPUs, and the sources, compile with Numba.
TARGETS := x86-64-v3 x86-64-v4-vnni cortex-a53 cortex-a72 cortex-a76
compiled: $(TARGETS:%=kernels/compiled/%.so)

kernels/compiled/%.so: $(wildcard kernels/*.py kernels/*/*.py) scripts/compile_kernels.py | $(VENV)/.dev linkers
	$(BIN)/python scripts/compile_kernels.py --target $*

.PHONY: linkers
linkers:
	@command -v ld >/dev/null && command -v $(OTHER_LD) >/dev/null || { \
	    echo 'a linker is missing: installing binutils with apt-get'; \
	    $(SUDO) apt-get update && $(SUDO) apt-get install --yes binutils $(OTHER_BINUTILS); }

# The installed command must run where the sources are not, and with no Numba where it can.
wheel: $(VENV)/.dev
	$(MAKE) -j2 compiled
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv --clear $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd /tmp && $(CURDIR)/$(VENV)-wheel/bin/fcs-edge info edge-65k
	cd /tmp && $(CURDIR)/$(VENV)-wheel/bin/fcs-edge warmup

# The installed package: mypy does not follow the package-dir of an editable install.
typecheck: wheel
	cd $(VENV)-wheel && ../$(BIN)/mypy --config-file ../pyproject.toml \
	    --python-executable bin/python --strict -p fcs_edge
	ln -sfn ../train $(VENV)-wheel/train
	cd $(VENV)-wheel && ../$(BIN)/mypy --config-file ../pyproject.toml \
	    --python-executable bin/python --strict -p train

check: lint typecheck test

clean:
	rm -rf build dist kernels/compiled $(VENV) $(VENV)-wheel *.egg-info

# Numba notices a changed kernel, but not a changed helper that it was compiled with.
clean-cache:
	find . -name '*.nbi' -delete -o -name '*.nbc' -delete

$(BIN)/python:
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo 'python3-venv is missing: installing it with apt-get'; \
	    $(SUDO) apt-get update && $(SUDO) apt-get install --yes python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(PIP) --editable '.[plot]'
	touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(PIP) --editable '.[dev]'
	touch $@
