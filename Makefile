# Two commands do all the set-up: `make up` and `make test`. GNU make 3.81 will do.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
PY = .venv/bin/python
ROOTS = src/mta_sts components/pulumi_mta_sts policies/pulumi_mta_sts_policies sandbox

.PHONY: help up preview check review walk chaos down test lint format bench
help: ## What can be made.
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /\1 - /'

up: .venv/.ready ## Deploy the sandbox stack, then deliver mail to its domains.
	@$(PY) -m sandbox up
preview: .venv/.ready ## Show what `make up` would change.
	@$(PY) -m sandbox preview
check: .venv/.ready ## Run `mta-sts check` on what the sandbox publishes.
	@$(PY) -m sandbox check
review: .venv/.ready ## Let `mta-sts review` judge real plans: usual styles, and our component (a minute or two).
	@$(PY) -m sandbox review
walk: .venv/.ready ## Walk from testing to enforce on evidence, in a world of its own (a minute or two).
	@$(PY) -m sandbox walk
chaos: .venv/.ready ## Interrupt many changes at every step, and let senders judge, a million deliveries (half an hour).
	@$(PY) -m sandbox.chaos
down: .venv/.ready ## End the sandbox's processes and throw its world and state away.
	@$(PY) -m sandbox down

test: .venv/.ready ## Lint and types, then every test.
	@$(MAKE) lint
	$(PY) -m pytest -n 2
lint: .venv/.ready ## Ruff and mypy.
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(ROOTS)
	$(PY) -m mypy __main__.py
	$(PY) -m mypy components/__main__.py
	$(PY) -m mypy policies/__main__.py
bench: .venv/.ready ## Benchmarks: reports beside parsedmarc, the safety proof, checks beside checkdmarc, a review of 1,000 domains.
	$(PY) benchmarks/reports.py
	$(PY) benchmarks/safety.py
	$(PY) benchmarks/check.py
	$(PY) benchmarks/review.py
format: .venv/.ready ## Let ruff format and fix.
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

.venv/.ready: pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, found $(or $(PYTHON),none) (set PYTHON=/path/to/python3)"; exit 1; }
	@echo "Installing into .venv ($$($(PYTHON) --version)): a minute or two, some 700 MB"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	@$(PY) -m pip install --quiet --editable '.[pulumi,policies]' --group dev
	@touch $@
