# make demo: see it work; make test: see it pass; make check: lint, types, arrows. Each sets up .venv by itself.
# make weights: real Whisper tiny.en and base for tests and benchmarks, into the caches that `linnet models` uses.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo weights test check docs clean

demo: $(READY)
	$(BIN)/linnet transcribe examples/speech-*.flac --model tiny.en --format txt --output .demo --show
	$(BIN)/linnet transcribe examples/digits-*.flac --model digits --format txt --output .demo --show

weights: $(READY)
	@for name in tiny.en base; do \
	  $(BIN)/linnet models path $$name 2>/dev/null || $(BIN)/linnet models pull $$name || exit 1; \
	done

# OMP: two workers with two threads each would wait for one another, and threads that wait keep a core busy
# PYTHONDONTWRITEBYTECODE: where it is set, each of some 60 processes would compile all it imports anew
test: $(READY)
	PYTHONDONTWRITEBYTECODE= HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist worksteal -q

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/pip install -q -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build --strict

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $(READY)

clean:
	rm -rf .venv build dist site .demo
