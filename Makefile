# make demo: set up, run the main job, print its table.   make test: set up, pass the tests.   make bench: time it.
# Everything is relative, so that a checkout may stand at any path.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN = .venv/bin
WORKERS ?= 2# processes that share the tests, a thread each: faster than one with two threads

.PHONY: demo test test-slow bench bench-keep check verify-submission clean

demo: .venv/installed
	$(BIN)/python -m molebench run --attack feature_collision --victim al_resnet50

test: .venv/installed-dev
	OMP_NUM_THREADS=1 MOLEBENCH_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -m slow

# Every figure of benchmarks/speed in one table, kept in bench.json; peers are installed for it. Without the tests' options:
# types that are checked in every call take time.
BENCH_JSON ?= bench.json
bench: .venv/installed-bench
	$(BIN)/python -m pytest benchmarks/speed -o addopts=-ra -o timeout=3600 --benchmark-quiet --benchmark-json="$(BENCH_JSON)"

# what `make bench` has kept becomes the tables of docs/performance.md and its picture
bench-keep: .venv/installed-bench
	$(BIN)/python -m benchmarks.speed.keep "$(BENCH_JSON)"

check: .venv/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# what CI does with a submission: DIR=leaderboard/submissions/<slug>, its records go to STORE
STORE ?= submission-store
verify-submission: .venv/installed
	$(BIN)/python -m molebench submit check "$(DIR)"
	$(BIN)/python -m molebench verify "$(DIR)" --profile tiny --store "$(STORE)"

# A marker is written only after pip has finished, so a cut installation is taken up again.
.venv/installed: setup.cfg pyproject.toml
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: setup.cfg pyproject.toml
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/installed

.venv/installed-bench: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
