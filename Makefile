# The README's two commands: `make demo` and `make test`. Each creates the environment, builds both halves and runs.
VENV ?= .venv
override VENV := $(abspath $(VENV))
export VIRTUAL_ENV := $(VENV)
export PATH := $(VENV)/bin:$(PATH)
# Tests run two processes on two cores: BLAS threads on top of them only get in the way.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

NATIVE := maturin develop -q -m unlearn_native/Cargo.toml
CYTHON := python setup.py -q build_ext --inplace
CARGO := cargo --quiet
CRATE := --manifest-path unlearn_native/Cargo.toml

$(VENV)/.ready: pyproject.toml unlearn_native/pyproject.toml
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	python -m pip install -q -U "pip>=25.1"
	python -m pip install -q --group build --group test
	$(NATIVE) --profile dev
	python -m pip install -q --no-build-isolation -e .
	touch $@

build: $(VENV)/.ready
	$(NATIVE) --profile dev --skip-install
	$(CYTHON)

build-release: $(VENV)/.ready
	$(NATIVE) --profile release --skip-install
	$(CYTHON)

test: build
	$(CARGO) test $(CRATE) --no-default-features
	$(TEST_ENV) python -m pytest -n 2 --dist worksteal

demo: build-release
	python -m skunlearn

$(VENV)/.lint: pyproject.toml $(VENV)/.ready
	python -m pip install -q --group lint
	touch $@

# In two halves that `make -j2` runs beside each other.
lint: lint-python lint-rust

lint-python: $(VENV)/.lint build
	ruff check .
	ruff format --check .
	cython-lint python
	mypy
	python -m mypy.stubtest _unlearn_native._native
	codespell .

lint-rust: $(VENV)/.ready
	cargo fmt $(CRATE) --check
	$(CARGO) clippy $(CRATE) --all-targets -- -D warnings

$(VENV)/.bench: pyproject.toml $(VENV)/.ready
	python -m pip install -q --group bench
	touch $@

bench: $(VENV)/.bench build-release
	python bench/run.py

clean:
	rm -rf $(VENV) build unlearn_native/target
	find . -name "*.so" -not -path "./.git/*" -delete

.PHONY: build build-release test demo lint lint-python lint-rust bench clean
