# Each target sets up what it needs by itself, once (packaging/setup.sh).
VENV ?= .venv
PYTHON ?=
ARGS ?=
HADOOP ?=
FLEET ?=
FAULTS ?=
FAULTS_SEED ?= 1
SOAK ?= 900
PARALLEL ?= $(shell echo $$(($$(nproc) + 1)))
export VENV PYTHON
# The tests start some hundreds of programs: each would compile the whole product for itself.
unexport PYTHONDONTWRITEBYTECODE

SETUP := @packaging/setup.sh
PYTEST = $(VENV)/bin/python -m pytest
AT_ONCE = -n $(PARALLEL) --dist worksteal
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo)
# Root's tests leave no compiled files in a user's tree: they read what its owner compiled before.
COMPILE = $(VENV)/bin/python -m compileall -q daemon tests/support
.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-hadoop test-soak test-system test-faults check config bench bench-hive deb lock clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "HADOOP=sample has test-hadoop run some variants of most tests."
	@echo "FLEET=30000 has it deliver that many files to three hosts, where it is 1,500 else."
	@echo "FAULTS_SEED=7 gives test-faults other random numbers."
	@echo "ARGS='...' is handed on; VENV and PYTHON choose the environment and its interpreter."
	@echo "PARALLEL=0 runs the tests of test and test-slow one after the other, as --pdb needs it."

demo:  ## Watch realistic backup files go through every stage
	$(SETUP) demo
	@$(VENV)/bin/backupd demo $(ARGS)

test:  ## Run the tests (ARGS='-k ship -x'), without the slow ones
	$(SETUP) test
	@$(PYTEST) $(AT_ONCE) -m 'not slow and not hadoop and not system and not faults and not soak' $(ARGS)

test-slow:  ## Run the tests that take minutes: hundreds of kills
	$(SETUP) test
	@$(PYTEST) $(AT_ONCE) -m slow $(ARGS)

test-hadoop:  ## Run the tests against a real HDFS and Hive (Java 17, Maven; 280 MiB of jars, once)
	$(SETUP) hadoop
	@HADOOP=$(HADOOP) FLEET=$(FLEET) $(PYTEST) -m hadoop $(ARGS)

test-soak:  ## Let two daemons run while a secured Hive's servers die (SOAK=900 seconds)
	$(SETUP) hadoop
	@SOAK=$(SOAK) $(PYTEST) -m soak -s $(ARGS)

test-system:  ## Try service and package under a real systemd, as root, and the alerting rules
	$(SETUP) system
	@packaging/deb.sh
	@packaging/test-rules.sh
	@$(COMPILE)
	@$(AS_ROOT) env PYTHONDONTWRITEBYTECODE=1 \
		$(PYTEST) -m system -p no:cacheprovider $(ARGS)

test-faults:  ## Campaigns of kills, power cuts, races and the like, as root (FAULTS=long: hours)
	$(SETUP) faults
	@$(COMPILE)
	@$(AS_ROOT) env PYTHONDONTWRITEBYTECODE=1 FAULTS=$(FAULTS) FAULTS_SEED=$(FAULTS_SEED) \
		$(PYTEST) -m faults -p no:cacheprovider $(ARGS)

check:  ## Check format, lint, types, walls, dead code, config.toml
	$(SETUP) test
	@packaging/check.sh

config:  ## Write config.toml, the sample, out of the config's schema
	$(SETUP) test
	@sample=$$($(VENV)/bin/python -m backupd.config.sample) && printf '%s\n' "$$sample" > config.toml

bench:  ## Measure speed, latency and memory; the table goes to bench-result.json too
	$(SETUP) test
	@$(VENV)/bin/python -m bench $(ARGS)

bench-hive:  ## Measure how fast rows go into a real Hive
	$(SETUP) hadoop
	@PYTHONPATH=tests $(VENV)/bin/python -m bench.hive

deb:  ## Build the package for Debian 12, dist/backupd_<version>_<architecture>.deb
	@packaging/deb.sh

lock:  ## Lock the dependencies anew (ARGS=--upgrade takes the newest)
	$(SETUP) test
	@packaging/lock.sh $(ARGS)

clean:  ## Remove what the other targets made, the virtual environment too
	rm -rf $(VENV) build dist demo bench-result.json faults-result.json daemon/backupd.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find bench daemon tests -name __pycache__ -prune -exec rm -rf {} +
