# Every target sets up .venv first and does nothing again that is done already. To use another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
# The language that `make demo` teaches: one of Tux Paint's spoken captions, such as bg ro be el ca da.
DEMO_LANG ?= bg
# A folder of Tux Paint's stamps, for machines where Debian's package cannot be fetched.
STAMPS ?=
# Test processes side by side; each computes with one thread.
WORKERS ?= 2

BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help demo test test-all fuzz check format bench bench-gpu docs lock
help:
	@echo 'make demo    teach a real Whisper a language it cannot hear (DEMO_LANG=bg), with every command shown'
	@echo 'make test    run the tests'
	@echo 'make test-all    those that take long, too'
	@echo 'make fuzz    thousands of damaged files, uploads and connections, of which make test takes a sample'
	@echo 'make check   formatting, lint, types, layers, and whether the command-line reference is fresh'
	@echo 'make bench   run the benchmarks on what make demo made'
	@echo 'make bench-gpu   training and transcribing with random weights, on a GPU where there is one'
	@echo 'make docs    build the documentation into site/'

demo: $(STAMP)
	$(BIN)/python scripts/demo.py --language $(DEMO_LANG) $(if $(STAMPS),--stamps '$(STAMPS)')

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' --numprocesses $(WORKERS) --dist worksteal

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

fuzz: $(STAMP)
	FINEWHISPER_FUZZ=full OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz --numprocesses $(WORKERS) --dist worksteal

check: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/lint-imports
	$(BIN)/python scripts/cli_reference.py --check

format: $(STAMP)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/python scripts/cli_reference.py

bench: $(STAMP)
	$(BIN)/python benchmarks/decode_speed.py

bench-gpu: $(STAMP)
	$(BIN)/python benchmarks/train_gpu.py
	$(BIN)/python benchmarks/transcribe_gpu.py

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# torch chooses its own GPU libraries for the machine it is installed on, so they are left out. An existing lock keeps its versions;
# delete it first to move everything forward.
lock: $(STAMP)
	$(BIN)/python -m pip install --quiet uv
	echo 'torch==2.13.0' > .venv/constraints.txt
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.10 --extra all --group dev --group docs \
		--constraints .venv/constraints.txt --no-header --no-annotate --quiet --output-file requirements.lock
	sed -i -E '/^(nvidia|cuda|triton)/d' requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'finewhisper needs Python 3.10 or later, but $(PYTHON) is older or missing; run: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments; on Debian and Ubuntu run: sudo apt install python3-venv' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $(STAMP)
