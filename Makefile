# `make help` lists what can be made. Everything runs in .venv, which is made on first use from
# requirements.lock; there is nothing to install by hand but Python, make and git.

PYTHON ?= python3
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long lint format lock

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv and install everything into it, once

demo: $(INSTALLED) ## play a testing day in one district; STAY=1 keeps it running, ARGS= for options
	@$(RUN)/lastmetre demo $(if $(STAY),--stay) $(ARGS)

test: $(INSTALLED) ## run the whole test suite on embedded servers; ARGS= for pytest
	@$(RUN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-long: $(INSTALLED) ## play a hundred thousand random days against the account; hours
	@$(RUN)/python -m pytest -n auto tests/whole tests/registry/test_account.py --hypothesis-profile=long $(ARGS)

lint: $(INSTALLED) ## check style, formatting, types and the direction of imports
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports

format: $(INSTALLED) ## format, and mend what can be mended
	$(RUN)/ruff format
	$(RUN)/ruff check --fix

lock: ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra local --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade --quiet --output-file requirements.lock

# The stamp is touched last, so that an installation that was interrupted is done again.
# hatchling is in the lock, so building our own package needs no download that is not hashed.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Lastmetre needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing into $(VENV) (once) ..."
	@if command -v uv >/dev/null; then \
		{ test -x $(RUN)/python || uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV); } && \
		uv pip install --quiet --python $(RUN)/python --require-hashes -r requirements.lock && \
		uv pip install --quiet --python $(RUN)/python --no-deps --no-build-isolation -e . ; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@
