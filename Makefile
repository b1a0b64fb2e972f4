# The whole developer interface. Each verb sets up what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lint bench clean

demo: $(READY)
	$(BIN)/penstock demo

test: $(READY)
	$(BIN)/pytest $(ARGS)

lint: $(READY)
	.ci/lint

bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	@PYTHON="$(PYTHON)" .ci/setup $(VENV)
	@touch $@
