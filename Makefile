# Two commands on a fresh machine with Python 3.11+: `make demo` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
TORCH := $(VENV)/.torch
SITE := $(VENV)/.site
READERS := $(VENV)/.readers

# What a machine without the internet is installed from; PYTHONS are the interpreters that its Python may be like.
WHEELHOUSE := dist/wheelhouse
PYTHONS = $(BIN)/python

# Files stay together, for what is made once a file is made once; they keep their order, the long ones first.
# Half as many again as there are cores: the long ones mostly wait for other programs.
WORKERS := $(shell echo $$(( ($$(nproc 2>/dev/null || echo 2) * 3 + 1) / 2 )))
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# Share of the lines of dicomnode and solver that the tests reach, in percent. Raise it when it has risen; never lower it.
COVERED := 93
COVERAGE := --cov=dicomnode --cov=solver --cov-report=term:skip-covered --cov-fail-under=$(COVERED)

.PHONY: demo test fast coverage check rooms reference validation manual site readers format lint types contracts audit bench bench-quality bench-receive faults study study-fat study-liver sweep fuzz train train-voxel gallery wheelhouse deb lock clean

demo: $(READY)
	$(BIN)/dicomnode demo

test: $(READY)
	$(PYTEST) $(if $(CI),$(COVERAGE))

# While working: a minute and a half at the most, no network, no peers.
fast: $(READY)
	$(PYTEST) tests/unit

# `make test` as continuous integration runs it. Child processes are not seen; compiled kernels do not count (pyproject.toml).
coverage: $(READY)
	$(PYTEST) $(COVERAGE)

check: $(READY) format lint types contracts test

format: $(READY)
	$(BIN)/ruff format --check .

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

# The picture in docs/architecture.md, from the imports.
rooms: $(READY)
	$(BIN)/python -m bench.rooms

# docs/configuration.md, from the schema and the example file; the interface in docs/library.md, from the functions.
reference: $(READY)
	$(BIN)/python -m bench.reference

# Programs of others that read our results, for the tests of that; only Linux on x86-64, macOS and Windows have all.
readers: $(READERS)

# The figures in the documents, from bench/validation/record.json.
validation: $(READY)
	$(BIN)/python -m bench.validation

# The documents as a site with search, in build/site; a link that leads nowhere fails.
site: $(SITE)
	rm -rf build/documents && mkdir -p build/documents
	cp -r README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md docs build/documents
	$(BIN)/properdocs build --strict

# Manual pages and what shells complete by, for whoever installs: docs/man, which is not kept in the repository.
manual: $(READY)
	$(BIN)/python -m bench.reference --manual docs/man

study: $(READY)
	$(BIN)/python -m bench.study

# Fat from 0 to 40 %, by every model of [fit]: half an hour.
study-fat: $(READY)
	$(BIN)/python -m bench.fat

study-liver: $(READY)
	$(BIN)/python -m bench.liver

fuzz: $(READY)
	$(BIN)/python -m bench.lies

sweep: $(READY)
	$(BIN)/python -m bench.sweep

# Known faults of what a hospital installs; asks PyPI's public database, so it needs the internet.
audit: $(READY)
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --disable-pip --require-hashes -r requirements.lock

# Every package that requirements.lock names and our own, as wheels for this kind of machine.
wheelhouse: $(READY) manual
	rm -rf $(WHEELHOUSE)
	for python in $(PYTHONS); do \
	  $$python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
	    --dest $(WHEELHOUSE) -r requirements.lock || exit; \
	done
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(WHEELHOUSE) .
	cp deploy/wheelhouse.md $(WHEELHOUSE)/README.md

# A Debian package that carries the wheelhouse; its environment is built where it is installed.
deb: wheelhouse
	deploy/debian/build.sh $(WHEELHOUSE) dist

# The weights of the liver finder, from this repository alone; the product never imports torch.
train: $(TORCH)
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.training --fixture tests/unit/dicomnode/measure/liver/network_fixture.npz

# The weights of method="learned", likewise: a few minutes on one thread.
train-voxel: $(TORCH)
	$(BIN)/python -m bench.training_voxel --fixture tests/unit/solver/learned_fixture.npz

gallery: $(READY)
	$(BIN)/python -m bench.gallery

bench: $(PEERS)
	$(BIN)/python -m bench.study_time
	$(BIN)/python -m bench.grouping
	$(BIN)/python -m bench.solver
	$(BIN)/python docs/notebooks/peers.py

# A node killed, starved, crowded and misled, again and again; half an hour.
faults: $(READY)
	$(BIN)/python -m bench.faults

# Control charts over simulated years: how soon a step is found, how many alarms are false.
bench-quality: $(READY)
	$(BIN)/python -m bench.quality

# Images a second beside other receivers: needs Debian's dcmtk and orthanc.
bench-receive: $(READY)
	$(BIN)/python -m bench.receive

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}; say which with: make PYTHON=/path/to/python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/dicomnode warm
	touch $@

$(PEERS): $(READY) requirements-bench.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-bench.lock
	touch $@

$(SITE): $(READY) requirements-site.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-site.lock
	touch $@

$(READERS): $(READY) requirements-readers.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-readers.lock
	touch $@

$(TORCH): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 nibabel==5.4.2
	touch $@

# Needs uv; only for whoever changes the dependencies. The first is what a hospital installs, the second what we test, the third
# what we measure beside us, the fourth what makes the documentation site, the fifth what reads our results.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
lock:
	$(LOCK) --output-file requirements.lock pyproject.toml requirements.build.in
	$(LOCK) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml requirements.build.in
	$(LOCK) --extra bench --constraint requirements-dev.lock --output-file requirements-bench.lock pyproject.toml requirements.build.in
	$(LOCK) --extra site --constraint requirements-dev.lock --output-file requirements-site.lock pyproject.toml requirements.build.in
	$(LOCK) --extra readers --constraint requirements-dev.lock --output-file requirements-readers.lock pyproject.toml requirements.build.in

clean:
	rm -rf $(VENV) build dist
