# The whole developer interface. Each verb sets up what it needs.
PYTHON  ?= python3
VENV    := .venv
INSTALL := editable
SEEDS   ?= 3000
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready

.PHONY: demo test chaos sim lint bench docs clean

demo: $(READY)
	$(BIN)/penstock demo $(ARGS)

# Three processes, each with a broker of its own: tests on a broker wait most of their time. A file
# of tests is one's alone.
test: $(READY)
	$(BIN)/pytest -n 3 --dist loadfile $(ARGS)

chaos: $(READY)
	$(BIN)/pytest tests/chaos -m chaos $(ARGS)

# SEEDS=5000 lets so many worlds of each application live, SEEDS=17..40 those of these seeds.
sim: $(READY)
	PENSTOCK_SEEDS=$(SEEDS) $(BIN)/pytest tests/sim -n 2 $(ARGS)

lint: $(READY)
	.ci/lint $(VENV)

# PART=recovery runs one part alone.
bench: $(READY)
	$(BIN)/python -m bench $(if $(PART),--only $(PART)) $(ARGS)

docs: $(READY)
	$(BIN)/python .ci/reference.py
	$(BIN)/python .ci/metrics.py

clean:
	rm -rf .venv .venv-ci build penstock.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(wildcard bench cli examples serde state streams tests topics) -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml streams/version.py
	@PYTHON="$(PYTHON)" .ci/setup $(VENV) $(INSTALL)
	@touch $@
