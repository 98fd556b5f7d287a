# make demo, make test: each alone takes a fresh clone to its end. Nothing is installed outside this directory.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

CSRC := $(wildcard csrc/*.c)
NATIVE := setup.py conf/border.py conf/debug_info.py conf/taskvine.py $(CSRC) \
  $(wildcard csrc/*.h vinefast/*.pyx vinefast/*.pxd vinefast/*.pxi vinefast/*/*.pxd vinefast/*/*.pxi)

.PHONY: build engine demo test ctest parsl-suite bench lint format clean distclean

build: .venv/.built

engine:
	@$(PYTHON) scripts/install-taskvine

$(BIN)/python:
	@$(PYTHON) scripts/make-venv .venv

# After the first time the core alone is built, in place: pip would make a new build environment.
.venv/.built: pyproject.toml $(NATIVE) | $(BIN)/python engine
	@mkdir -p build
	@if [ pyproject.toml -nt .venv/.installed ]; then \
	  echo 'Installing vinefast and its dependencies into .venv (some minutes the first time) ...'; \
	  $(PIP) install -q -e '.[test,demo]'; touch .venv/.installed; \
	else \
	  echo 'Building the core ...'; \
	  $(BIN)/python setup.py -q build_ext --inplace > build/core.log 2>&1 || { cat build/core.log >&2; exit 1; }; \
	fi
	@touch $@

demo: build
	$(BIN)/python examples/molecular_dynamics.py

test: build ctest
	$(BIN)/python -m pytest -q benches --benchmark-disable
	$(BIN)/python -m pytest $(PYTEST_ARGS)
	$(MAKE) --no-print-directory parsl-suite

# Parsl's own tests, with vinefast as the executor.
MODE ?= serverless
parsl-suite: build
	$(BIN)/python tests/parsl_suite/run.py $(MODE)

bench: build
	$(BIN)/python -m pytest benches $(PYTEST_ARGS)

.venv/.lint: pyproject.toml | build
	@$(PIP) install -q -e '.[lint]'
	@touch $@

lint: build .venv/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint vinefast
	$(BIN)/clang-format --dry-run -Werror csrc/*.[ch] csrc/tests/*.[ch]
	$(BIN)/mypy

format: .venv/.lint
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i csrc/*.[ch] csrc/tests/*.[ch]

# C unit tests. Every test is linked with an archive of all of csrc, from which the linker takes what it calls; behind the engine
# once more, since the engine needs the glibc shim.

CTESTS := $(patsubst csrc/tests/%.c,%,$(wildcard csrc/tests/test_*.c))
CTESTS_THREADED := $(foreach t,$(CTESTS),$(if $(shell grep -lE 'pthread|threads\.h' csrc/tests/$(t).c),$(t)))
CTEST_CFLAGS := -std=gnu11 -g -Wall -Wextra -Werror -pthread -Icsrc
# What compilers of some distributions have by default.
CTEST_FLAGS_plain := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -Wno-cpp
CTEST_FLAGS_address := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
CTEST_FLAGS_thread := -O1 -fsanitize=thread
CTEST_RUNS := $(CTESTS:%=build/ctest/plain/%.ok) $(CTESTS:%=build/ctest/address/%.ok) \
  $(CTESTS_THREADED:%=build/ctest/thread/%.ok)

# The thread sanitizer of older compilers does not know the address layout that newer kernels randomise.
FIXED_LAYOUT := $(shell setarch -R true 2>/dev/null && echo setarch -R)

ctest: $(CTEST_RUNS)

build/ctest/engine.cflags build/ctest/engine.libs: build/ctest/engine.%: .venv/.built
	@mkdir -p $(@D)
	@$(BIN)/python conf/taskvine.py $* > $@

define ctest_variant
build/ctest/$(1)/%.o: csrc/%.c $$(wildcard csrc/*.h) build/ctest/engine.cflags
	@mkdir -p $$(@D)
	@$$(CC) $$(CTEST_CFLAGS) $$(CTEST_FLAGS_$(1)) @build/ctest/engine.cflags -c $$< -o $$@

build/ctest/$(1)/libvf.a: $$(CSRC:csrc/%.c=build/ctest/$(1)/%.o)
	@rm -f $$@ && $$(AR) rcs $$@ $$^

build/ctest/$(1)/%.ok: csrc/tests/%.c build/ctest/$(1)/libvf.a build/ctest/engine.libs
	@$$(CC) $$(CTEST_CFLAGS) $$(CTEST_FLAGS_$(1)) @build/ctest/engine.cflags \
	  $$< build/ctest/$(1)/libvf.a @build/ctest/engine.libs build/ctest/$(1)/libvf.a -o $$(@:.ok=)
	@echo 'ctest $(1) $$*' && $$(FIXED_LAYOUT) $$(@:.ok=) && touch $$@
endef
$(foreach variant,plain address thread,$(eval $(call ctest_variant,$(variant))))

clean:
	rm -rf build dist *.egg-info vinefast/_build_info.py vinefast/*.so .venv/.[bil]*

distclean: clean
	rm -rf .venv .taskvine
