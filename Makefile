# make demo: see it work; make test: see it pass; make check: lint, types, arrows. Each sets up .venv by itself.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check docs clean

demo: $(READY)
	$(BIN)/linnet transcribe examples/*.flac --model digits --format txt --output .demo --show

# OMP_WAIT_POLICY: threads that wait for work shall not keep the other worker off its core
test: $(READY)
	HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist worksteal -q

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
