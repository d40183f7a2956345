# Everything a person or a pipeline runs. `make help` explains it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
UV := $(VENV)/bin/uv
READY := $(VENV)/.ready
NODE_READY := node_modules/.ready
SPARK_VENV := .venv-spark
SPARK_READY := $(SPARK_VENV)/.ready
INFRA_VENV := .venv-infra
INFRA_READY := $(INFRA_VENV)/.ready
EVIDENTLY_VENV := .venv-evidently
EVIDENTLY_READY := $(EVIDENTLY_VENV)/.ready
REQUIREMENTS := requirements requirements-ml requirements-build requirements-dev requirements-spark requirements-infra \
	requirements-evidently

.PHONY: help setup demo up train test unit test-spark check check-infra format bench docs lock clean

help: ## Show this help
	@echo "The fleet: sensor forecast models from readings to production predictions."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' \
		| while IFS=$$'\t' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  DATA=folder MAPPING=file.yml   with demo, up: your own readings (docs/examples/mappings has mapping files)"
	@echo "  DEMO=1                         with up: go on with what make demo left"
	@echo "  CHANGED=origin/main            with train: since where; CIRCUITS=P001_C001,P001_C002 or all instead"
	@echo "  FLEET_PORT=8080                with demo and up: the port of the app"
	@echo "  PYTHON_BIN=python3.12          with anything: the Python to set up with (3.11 or 3.12)"

setup: $(READY) $(NODE_READY) ## Install what is missing: virtual environment, packages, storage emulator

demo: setup ## Twelve circuits from raw readings to production predictions, then stop
	@$(PYTHON) -m local.demo $(if $(DATA),--data "$(DATA)") $(if $(MAPPING),--mapping "$(MAPPING)")

up: setup ## The app at http://127.0.0.1:7071 until Ctrl-C; state is kept in .local/up
	@$(PYTHON) -m local.up $(if $(DATA),--data "$(DATA)") $(if $(MAPPING),--mapping "$(MAPPING)") $(if $(DEMO),--demo)

train: setup ## Train what a branch changed in config/: data, environment, training, artifact (CHANGED=origin/main)
	@$(PYTHON) -m local.train $(if $(CHANGED),--changed "$(CHANGED)") $(if $(CIRCUITS),--circuits "$(CIRCUITS)")

test: setup ## Every test
	@$(PYTHON) -m pytest tests -n 3 --dist loadfile --no-loadscope-reorder

unit: setup ## The tests that run in seconds
	@$(PYTHON) -m pytest tests/unit

test-spark: $(SPARK_READY) ## Both ETL engines on real Spark: the same table, row for row (Java 17, Maven)
	@scripts/fetch_spark_jars.sh .local/spark-jars
	@$(SPARK_VENV)/bin/python -m pytest tests/spark --confcutdir=tests/spark

check: setup check-infra ## Lint, format, types, and that generated documents are fresh
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(PYTHON) scripts/draw_diagrams.py --check
	@$(PYTHON) scripts/write_config_schemas.py --check

check-infra: $(INFRA_READY) ## Scan infra/ for misconfiguration (checkov)
	@$(PYTHON) scripts/scan_infra.py

format: setup ## Format the code
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: setup $(EVIDENTLY_READY) ## Measure ours beside the reference; writes .local/bench
	@$(PYTHON) scripts/bench_core.py
	@$(PYTHON) scripts/bench_fleet.py
	@$(PYTHON) scripts/bench_data.py
	@$(PYTHON) scripts/bench_monitoring.py
	@$(PYTHON) scripts/bench_dashboard.py

docs: setup ## Write the generated diagrams and references again
	@$(PYTHON) scripts/draw_diagrams.py

lock: $(READY) ## Pin the requirements again, with hashes
	@rm -f $(REQUIREMENTS:=.txt)
	@for name in $(REQUIREMENTS); do \
		$(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate \
			--custom-compile-command "make lock" $$name.in -o $$name.txt; \
	done
	@cd ml/environment && ../../$(UV) pip compile -q --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--generate-hashes --no-annotate --custom-compile-command "make lock" requirements.in -o requirements.txt

clean: ## Remove what was installed and everything the embedded mode has kept
	@rm -rf $(VENV) $(SPARK_VENV) $(INFRA_VENV) $(EVIDENTLY_VENV) node_modules .local .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(READY): requirements-dev.txt
	@$(UV) --version >/dev/null 2>&1 || scripts/make_venv.sh $(VENV)
	@echo "Installing Python packages ..."
	@$(UV) pip sync -q --require-hashes requirements-dev.txt
	@touch $@

$(NODE_READY): package-lock.json
	@scripts/check_node.sh
	@echo "Installing what comes from npm ..."
	@npm ci --silent --no-audit --no-fund
	@touch $@

$(EVIDENTLY_READY): requirements-evidently.txt $(READY)
	@echo "Installing Evidently, to measure beside it ..."
	@$(UV) venv -q --clear --python $(PYTHON) $(EVIDENTLY_VENV)
	@VIRTUAL_ENV=$(EVIDENTLY_VENV) $(UV) pip sync -q --require-hashes requirements-evidently.txt
	@touch $@

$(SPARK_READY): requirements-spark.txt $(READY)
	@echo "Installing Spark ..."
	@$(UV) venv -q --clear --python $(PYTHON) $(SPARK_VENV)
	@VIRTUAL_ENV=$(SPARK_VENV) $(UV) pip sync -q --require-hashes requirements-spark.txt
	@touch $@

$(INFRA_READY): requirements-infra.txt $(READY)
	@echo "Installing checkov ..."
	@$(UV) venv -q --clear --python $(PYTHON) $(INFRA_VENV)
	@VIRTUAL_ENV=$(INFRA_VENV) $(UV) pip sync -q --require-hashes requirements-infra.txt
	@touch $@
