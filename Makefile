# From a clean clone, with Python >= 3.9, make and the package registry:
#
#   make demo   sets up the environment in .venv/ and runs the main job
#   make test   sets up the environment and runs the linter, the type checker and the tests
#   make wheel  dist/fl_research-*.whl, to be installed beside TFF
#
# uv is installed into .uv/, since a distribution's Python may refuse global installs, and installs
# exactly what uv.lock names. Name another Python with `make PYTHON=/path/to/python3.11 ...`.

PYTHON ?= python3
UV_VERSION := 0.13.8
UV_HOME := .uv/$(UV_VERSION)
UV := $(UV_HOME)/bin/uv
ENVIRONMENT := .venv/.up-to-date
RAY := .venv/.ray-up-to-date
FLOWER := .flower/.up-to-date

# Importing TensorFlow Federated takes 7 seconds when compiled and 17 when not.
export UV_COMPILE_BYTECODE := 1
# A user's own choice of environment must not lead away from .venv/.
export UV_PROJECT_ENVIRONMENT := .venv
export UV_HTTP_TIMEOUT ?= 300
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help env ray flower quickstart demo federation test test-federation check lint requirements build-files generated wheel clean

help:
	@echo 'make quickstart    the demo, and what to do next'
	@echo 'make demo          run federated averaging on an embedded data set'
	@echo 'make federation    three hospitals and an engine on this machine, as on four'
	@echo 'make test          linter, type checker, tests'
	@echo 'make test-federation  the tests that need Flower'
	@echo 'make check         linter, type checker, and the tests of what has changed'
	@echo 'make lint          linter and type checker only'
	@echo 'make env           only set up the environment in .venv/'
	@echo 'make ray           and what --runtime=ray needs'
	@echo 'make flower        and Flower, in .flower/, for --runtime=federation on several machines'
	@echo 'make requirements  after a change of dependencies: uv.lock and requirements.txt'
	@echo 'make build-files   after a change of imports: the BUILD files'
	@echo 'make generated     all that is generated: BUILD files, pages of docs/, the ledger'
	@echo 'make wheel         dist/fl_research-*.whl, to be installed beside TFF'
	@echo 'make clean         remove the environment and caches; results stay'

demo: env
	@.venv/bin/python -m experiments.train --flagfile=experiments/demo.flags

# Sockets need a short path.
FEDERATION ?= /tmp/fl_federation
COLUMNS := sex:category,chest_pain:category,sugar:category,ecg:category,angina:category
SITE := python -m experiments.site serve --name={site} --folder={folder} --listen={socket} \
  --data_file={folder}/patients.csv --label_column=ill \
  --columns=$(COLUMNS),slope:category,thallium:category
ENGINE := python -m experiments.train --flagfile=experiments/federation.flags \
  --federation={federation} --output_dir={folder}/results

federation: env flower
	@.venv/bin/python -m experiments.examples.hospitals --folder=$(FEDERATION)
	@.venv/bin/python -m experiments.federation local --folder=$(FEDERATION) \
	  --sites=cleveland,hungarian,va --site='$(SITE)' --train='$(ENGINE)'

quickstart: demo
	@echo
	@.venv/bin/python -m experiments.train --help=start

test: lint ray
	@.venv/bin/python -m pytest -n auto

check: lint
	@.venv/bin/python -m tests.changed

lint: env
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

env: $(ENVIRONMENT)

ray: $(RAY)

flower: $(FLOWER)

test-federation: env flower
	@.venv/bin/python -m pytest -p no:xdist tests/federation/with_flower.py

# Of each file what stands above its packages stays.
define EXPORT
sed '/^[^#]/,$$d' $(1) > .uv/$(1) \
  && $(UV) export --frozen --quiet $(2) --no-emit-project --no-header >> .uv/$(1) \
  && mv .uv/$(1) $(1)
endef

# Flower and TFF cannot be in one environment, and so not in one lock.
define LOCK_FLOWER
sed '/^[^#]/,$$d' requirements-flower.txt > .uv/requirements-flower.txt \
  && $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    fl_research/federation/flower_app/pyproject.toml >> .uv/requirements-flower.txt \
  && mv .uv/requirements-flower.txt requirements-flower.txt
endef

requirements: $(UV)
	@$(UV) lock
	@$(call EXPORT,requirements.txt,)
	@$(call EXPORT,requirements-ray.txt,--only-group ray)
	@$(LOCK_FLOWER)

build-files: env
	@.venv/bin/python -m tests.build_files

generated: build-files
	@.venv/bin/python -m fl_research.soundness.combinations
	@.venv/bin/python -m baselines.methods --page_only
	@.venv/bin/python -m baselines.reproduce --refresh

# setuptools is there, as TensorFlow needs it: nothing is downloaded.
wheel: env
	@$(UV) build --quiet --wheel --no-build-isolation --python .venv --out-dir dist
	@rm -rf build *.egg-info
	@ls dist/*.whl

clean:
	rm -rf dist .venv .flower .uv .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------
# The environment. Every way this can end badly ends in one sentence that says what to do.

define FAIL
{ echo; echo "fl_research: $(1)"; exit 1; } >&2
endef

NO_PYTHON := '$(PYTHON)' was not found: install Python 3.11, or name it with 'make PYTHON=...'.
NO_INSTALLER := $(PYTHON) has neither ensurepip nor pip nor virtualenv: install one of them \
(on Debian and Ubuntu: apt install python3-venv) and run make again.
NO_UV := uv $(UV_VERSION) could not be installed from the package registry; the reason is above.
NO_PLATFORM := TensorFlow Federated is published for Linux on x86-64 only, this is \
$$(uname -s) on $$(uname -m).
NO_PYTHON_311 := TensorFlow Federated needs Python 3.11, none was found and none could be \
downloaded: install it (python3.11 on the PATH is enough, or 'make PYTHON=/path/to/python3.11') \
and run make again.
NO_FLOWER := the packages of requirements-flower.txt could not be installed; the reason is above.
NO_PACKAGES := the packages of uv.lock could not be installed; the reason is above.

$(UV):
	@command -v "$(PYTHON)" > /dev/null || $(call FAIL,$(NO_PYTHON))
	@rm -rf .uv
	@echo 'Installing uv $(UV_VERSION) into .uv/'
	@if "$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null; then \
	  "$(PYTHON)" -m venv $(UV_HOME) \
	    && $(UV_HOME)/bin/python -m pip install --quiet uv==$(UV_VERSION); \
	elif "$(PYTHON)" -m pip --version > /dev/null 2>&1; then \
	  "$(PYTHON)" -m pip install --quiet --target $(UV_HOME) uv==$(UV_VERSION); \
	elif "$(PYTHON)" -m virtualenv --version > /dev/null 2>&1; then \
	  "$(PYTHON)" -m virtualenv --quiet $(UV_HOME) \
	    && $(UV_HOME)/bin/python -m pip install --quiet uv==$(UV_VERSION); \
	else \
	  $(call FAIL,$(NO_INSTALLER)); \
	fi && test -x $@ || { rm -rf .uv; $(call FAIL,$(NO_UV)); }

# Where pip was told of another index or of a certificate, uv is to use them too.
define PIP_SETTING
$$({ $(UV_HOME)/bin/python -m pip config list || "$(PYTHON)" -m pip config list; } 2> /dev/null \
  | sed -n "s/^[a-z:]*\.$(1)='\(.*\)'$$/\1/p" | head -n 1)
endef

define INDEX
certificate=$${SSL_CERT_FILE:-$(call PIP_SETTING,cert)}; \
if [ -n "$$certificate" ]; then export SSL_CERT_FILE="$$certificate"; fi; \
index=$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$(call PIP_SETTING,index-url)}}
endef

# uv.lock names files of pypi.org. Where pip or uv is configured to use another index, the same
# versions come from there, checked against the same hashes.
$(ENVIRONMENT): pyproject.toml uv.lock requirements.txt | $(UV)
	@test "$$(uname -s) $$(uname -m)" = 'Linux x86_64' || $(call FAIL,$(NO_PLATFORM))
	@certificate=$${SSL_CERT_FILE:-$(call PIP_SETTING,cert)}; \
	if [ -n "$$certificate" ]; then export SSL_CERT_FILE="$$certificate"; fi; \
	index=$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$(call PIP_SETTING,index-url)}}; \
	python=$$("$(PYTHON)" -c \
	  'import sys; print(sys.executable if sys.version_info[:2] == (3, 11) else "3.11")'); \
	$(UV) python find --no-project "$$python" > /dev/null 2>&1 \
	  || $(UV) python install --quiet "$$python" 2> /dev/null \
	  || $(call FAIL,$(NO_PYTHON_311)); \
	echo 'Installing the packages of uv.lock into .venv/ (3 GB, once)'; \
	if [ -n "$$index" ]; then \
	  $(UV) venv --quiet --allow-existing --python "$$python" .venv \
	    && UV_DEFAULT_INDEX="$$index" \
	      $(UV) pip sync --python .venv --require-hashes requirements.txt; \
	else \
	  $(UV) sync --frozen --python "$$python"; \
	fi || $(call FAIL,$(NO_PACKAGES))
	@touch $@

$(RAY): $(ENVIRONMENT) requirements-ray.txt
	@$(INDEX); \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	echo 'Installing Ray into .venv/ (300 MB, once)'; \
	$(UV) pip install --quiet --python .venv --require-hashes -r requirements-ray.txt \
	  || $(call FAIL,$(NO_PACKAGES))
	@touch $@

$(FLOWER): requirements-flower.txt | $(UV)
	@$(INDEX); \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	python=$$("$(PYTHON)" -c \
	  'import sys; print(sys.executable if sys.version_info[:2] >= (3, 11) else "3.11")'); \
	echo 'Installing Flower into .flower/ (220 MB, once)'; \
	{ $(UV) venv --quiet --allow-existing --python "$$python" .flower \
	  && $(UV) pip sync --quiet --python .flower --require-hashes requirements-flower.txt; } \
	  || $(call FAIL,$(NO_FLOWER))
	@touch $@
