# Everything that a fresh machine needs, from `make demo` to `make test`. Needs make and Python 3.10 or 3.11.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test lint types layers unit mutants clean

help: ## say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

install: $(INSTALLED) ## make the environment

$(INSTALLED): pyproject.toml scripts/find_python.sh
	@python=$$(sh scripts/find_python.sh) && echo "environment: $(VENV), with $$python" && "$$python" -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[train,dev]'
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q $(VENV)/lib > $(VENV)/compileall.log 2>&1 || true # some packages ship templates that are not Python
	@touch $@

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

unit: $(INSTALLED)
	$(BIN)/pytest -n 2 --no-loadscope-reorder

mutants: $(INSTALLED) ## plant mutants and count those that the tests kill; takes an hour or two, see docs/mutants.md
	$(BIN)/python scripts/mutants.py

clean: ## forget the environment and every run
	rm -rf $(VENV) runs build *.egg-info
