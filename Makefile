# Everything that a fresh machine needs, from `make demo` to `make test`. Needs make and Python 3.11, or 3.12 with a C++ compiler.
# PYTHON=3.12 (or a path) chooses the Python; LOCKED=0 resolves the ranges of pyproject.toml afresh instead of taking requirements.lock.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCKED := 1
UV = $(shell command -v uv || echo $(BIN)/uv)
COMPILE = $(UV) pip compile --quiet pyproject.toml --extra train --extra dev --universal --python-version 3.10 \
	--generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make lock" --output-file requirements.lock

.PHONY: help install lock caps demo test lint types layers unit mutants clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

install: $(INSTALLED) ## make the environment

# An environment of another Python than the one that is asked for is made anew.
ifdef PYTHON
ifneq ($(shell $(BIN)/python --version 2>&1),$(shell "$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh)" --version 2>&1))
.PHONY: $(INSTALLED)
endif
endif

$(INSTALLED): pyproject.toml requirements.lock scripts/find_python.sh
	@python=$$(PYTHON='$(PYTHON)' sh scripts/find_python.sh) && echo "environment: $(VENV), with $$python" && "$$python" -m venv --clear $(VENV)
	@command -v uv > /dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8,<1'
ifeq ($(LOCKED),0)
	@$(UV) pip install --quiet --python $(BIN)/python -e '.[train,dev]'
else
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
endif
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q $(VENV)/lib > $(VENV)/compileall.log 2>&1 || true # some packages ship templates that are not Python
	@touch $@

lock: $(INSTALLED) ## write requirements.lock anew: names, versions and hashes for all Pythons; UPGRADE=1 takes the newest of each range
	@$(COMPILE) $(if $(UPGRADE),--upgrade)

caps: $(INSTALLED) ## ask the package index which caps of pyproject.toml a newer release could lift
	@$(BIN)/python scripts/caps.py

demo: $(INSTALLED) ## simulate a shop, train, evaluate, export, serve and ask
	@$(BIN)/cartwheel demo

test: lint types layers unit ## everything that must hold

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

layers: $(INSTALLED)
	$(BIN)/lint-imports

unit: $(INSTALLED) # some hundred processes import the same files: compiled once
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n 2 --no-loadscope-reorder

mutants: $(INSTALLED) ## plant mutants and count those that the tests kill; takes an hour or two, see docs/mutants.md
	$(BIN)/python scripts/mutants.py

clean: ## forget the environment and every run
	rm -rf $(VENV) runs build *.egg-info
