# `make help` lists what can be made. Everything runs in .venv, which is made on first use from
# requirements.lock; there is nothing to install by hand but Python, make and git.

PYTHON ?= python3
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
KAFKA := build/kafka
FETCHED := $(KAFKA)/.fetched
PROMETHEUS := build/prometheus
UNPACKED := $(PROMETHEUS)/.unpacked

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long chaos bench bench-bulk bench-carry bench-import bench-rebuild bench-residents bench-scans bench-reads bench-opening bench-page bench-overload test-kafka kafka test-metrics test-browser screenshots chromium prometheus fetch-prometheus drill-upgrade drill-restore client lint format lock

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv and install everything into it, once

demo: $(INSTALLED) ## play a testing day in one district; STAY=1 keeps it running, ARGS= for options
	@$(RUN)/lastmetre demo $(if $(STAY),--stay) $(ARGS)

test: $(INSTALLED) ## run the whole test suite on embedded servers; ARGS= for pytest
	@$(RUN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-long: $(INSTALLED) ## play a hundred thousand random days against the account; hours
	@$(RUN)/python -m pytest -n auto tests/whole tests/registry/test_account.py --hypothesis-profile=long $(ARGS)

chaos: $(INSTALLED) ## kill everything at random while results come in; ARGS="--broker apache --kills 100"
	@$(RUN)/python -m tests.chaos $(ARGS)

bench: $(INSTALLED) $(FETCHED) ## run every benchmark, and renew the table in docs/performance.md; some fifty minutes; ARGS="--quick"
	@$(RUN)/python -m benchmarks $(ARGS)

bench-bulk: $(INSTALLED) ## measure taking results in against raw COPY and against a naive build
	@$(RUN)/python -m benchmarks.bulk $(ARGS)

bench-carry: $(INSTALLED) ## measure what is carried from end to end and what a result costs; ARGS="--rates 5000 --results 0"
	@$(RUN)/python -m benchmarks.carry $(ARGS)

bench-import: $(INSTALLED) ## measure an import that is killed three times; ARGS="--rows 200000"
	@$(RUN)/python -m benchmarks.imports $(ARGS)

bench-rebuild: $(INSTALLED) ## measure building all figures anew from position zero; ARGS="--results 200000"
	@$(RUN)/python -m benchmarks.rebuild $(ARGS)

bench-residents: $(INSTALLED) ## measure people coming on the roll, with who is who looked up; ARGS="--residents 2000000"
	@$(RUN)/python -m benchmarks.residents $(ARGS)

bench-scans: $(INSTALLED) ## measure single scans against an empty endpoint and a plain INSERT
	@$(RUN)/python -m benchmarks.scans $(ARGS)

bench-reads: $(INSTALLED) ## measure reads of the figures against the best live GROUP BY, and polling dashboards
	@$(RUN)/python -m benchmarks.reads $(ARGS)

bench-opening: $(INSTALLED) ## measure opening and closing a round, until the last visit
	@$(RUN)/python -m benchmarks.opening $(ARGS)

bench-page: $(INSTALLED) ## measure the page: first view, freshness, open pages, memory; ARGS="--parts view pages"
	@$(RUN)/python -m benchmarks.page $(ARGS)

bench-overload: $(INSTALLED) ## offer five times the load it can carry, for five minutes; ARGS="--seconds 60"
	@$(RUN)/python -m benchmarks.overload $(ARGS)

test-kafka: $(INSTALLED) $(FETCHED) ## run journeys and faults on Apache Kafka; needs Java 17, and Maven once
	@$(RUN)/python -m pytest tests/kafka $(ARGS)

kafka: $(INSTALLED) $(FETCHED) ## run Apache Kafka on 127.0.0.1:9092 until Ctrl-C; ARGS="--brokers 3 --data DIR"
	@$(RUN)/lastmetre kafka $(ARGS)

test-metrics: $(INSTALLED) $(UNPACKED) ## hold metrics, rules and dashboards against a real Prometheus, Debian's; raise every alert
	@$(RUN)/python -m pytest tests/metrics $(ARGS)

prometheus: $(INSTALLED) $(UNPACKED) ## run Prometheus on 127.0.0.1:9090 over the stack that is up, until Ctrl-C; ARGS="--data DIR"
	@$(RUN)/lastmetre prometheus $(ARGS)

test-browser: $(INSTALLED) chromium ## look at the page in Debian's Chromium, over a real stack
	@$(RUN)/python -m pytest tests/browser $(ARGS)

screenshots: $(INSTALLED) chromium ## take the README's pictures of the page anew
	@$(RUN)/python -m tests.browser.screenshots

drill-upgrade: $(INSTALLED) ## rehearse an upgrade under load; ARGS="--from REVISION"
	@$(RUN)/python -m deploy.drills.upgrade $(ARGS)

drill-restore: $(INSTALLED) ## rehearse the loss of registry's database, and an older backup
	@$(RUN)/python -m deploy.drills.restore $(ARGS)

client: $(INSTALLED) ## generate a Python client of the three services into dist/client
	@$(RUN)/python -m deploy.client $(ARGS)

lint: $(INSTALLED) ## check style, types, the direction of imports, known weaknesses and vulnerabilities
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/bandit --quiet --configfile pyproject.toml --recursive services shared deploy
	$(RUN)/python -m deploy.audit

format: $(INSTALLED) ## format, and mend what can be mended
	$(RUN)/ruff format
	$(RUN)/ruff check --fix

COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --quiet

lock: ## renew requirements.lock, and what of it the image takes, from pyproject.toml (needs uv)
	$(COMPILE) --extra local --extra dev --upgrade --output-file requirements.lock
	$(COMPILE) --constraint requirements.lock --output-file deploy/requirements.lock

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

# Maven checks what it fetches against the repository's checksums (-C) and keeps it for other clones.
$(FETCHED): deploy/kafka/pom.xml
	@java -version 2>&1 | awk -F '[".]' '/ version /{ found = $$2 >= 17 } END { exit !found }' || { \
		echo "Apache Kafka needs Java 17 or newer, and 'java' on the PATH is not that." >&2; exit 1; }
	@command -v mvn >/dev/null || { \
		echo "Apache Kafka's jars are fetched by Maven, once; there is no 'mvn' on the PATH." >&2; exit 1; }
	@echo "Fetching Apache Kafka into $(KAFKA) (once) ..."
	@rm -rf $(KAFKA)
	@mvn --batch-mode --quiet --strict-checksums -Dstyle.color=never --file $< || { \
		echo "Apache Kafka's jars could not be fetched; what Maven says about it is above." >&2; exit 1; }
	@touch $@

# Debian's package, which apt checks against the signed lists, is unpacked beside us: nothing is
# installed, and no rights over the machine are needed. Whoever has Prometheus already uses that.
$(UNPACKED):
	@rm -rf $(PROMETHEUS) && mkdir -p $(PROMETHEUS)
	@if command -v prometheus >/dev/null && command -v promtool >/dev/null; then exit 0; fi; \
	command -v apt-get >/dev/null || { \
		echo "Prometheus is not on the PATH, and without apt-get it cannot be fetched: install prometheus and promtool." >&2; exit 1; }; \
	echo "Fetching Prometheus into $(PROMETHEUS) (once) ..."; cd $(PROMETHEUS); \
	fetch() { apt-get download --quiet=2 --option APT::Sandbox::User=root prometheus 2>fetched.log; }; \
	fetch || { test "$$(id -u)" = 0 && apt-get update --quiet=2 >/dev/null && fetch; } || { \
		cat fetched.log >&2; \
		echo "Prometheus could not be fetched; what apt says about it is above." >&2; exit 1; }; \
	dpkg --extract prometheus_*.deb . && rm prometheus_*.deb
	@touch $@

fetch-prometheus: $(UNPACKED)

# Debian's Chromium needs a hundred libraries of the system, so it is installed and not unpacked.
chromium:
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && { \
		apt-get update --quiet=2 >/dev/null; \
		apt-get install --quiet=2 --yes --no-install-recommends chromium fonts-noto-cjk >/dev/null; }; } || { \
		echo "There is no chromium on the PATH: install Debian's packages chromium and fonts-noto-cjk." >&2; exit 1; }
