# The same commands that CI runs. Everything lives in .venv, which `make` creates.
PYTHON ?= python3
BIN := .venv/bin
# Files or folders of tests; all if none are named.
TESTS ?=

.PHONY: build test test-rust test-python lint format bench clean

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet 'maturin>=1.9.4,<2'
	touch $@

build: .venv/ready
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/maturin develop --quiet --extras report,test,bench,lint

test: test-rust test-python

test-rust:
	cargo test --release --workspace

test-python: build
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 $(TESTS)

lint: build
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/python -m mypy.stubtest lamina._kernels

format: .venv/ready
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: build
	cargo bench --workspace
	$(BIN)/pytest benches

clean:
	rm -rf target .venv dist
