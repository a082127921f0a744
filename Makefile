# make demo and make test need only python3; they keep to .venv in this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-full bench arm64 lint typecheck wheel check clean clean-cache

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


# The installed command must run where the sources are not.
wheel: $(VENV)/.dev
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv --clear $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd /tmp && $(CURDIR)/$(VENV)-wheel/bin/fcs-edge info preview-4k

# The installed package: mypy does not follow the package-dir of an editable install.
typecheck: wheel
	cd $(VENV)-wheel && ../$(BIN)/mypy --config-file ../pyproject.toml \
	    --python-executable bin/python --strict -p fcs_edge

check: lint typecheck test

clean:
	rm -rf build dist $(VENV) $(VENV)-wheel *.egg-info

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
