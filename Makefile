# make demo, make test: each alone takes a fresh clone to its end. Nothing is installed outside this directory.
# make help lists the targets: what follows ## is what it says of them.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

CSRC := $(wildcard csrc/*.c)
PRELOAD := $(wildcard csrc/preload/*.c)
NATIVE := setup.py conf/border.py conf/debug_info.py conf/taskvine.py $(CSRC) $(PRELOAD) \
  $(wildcard csrc/*.h csrc/*.map benches/*.pyx vinefast/*.pyx vinefast/*.pxd vinefast/*.pxi vinefast/*/*.pxd vinefast/*/*.pxi)

.PHONY: build help valgrind sanitize engine demo test test-oldest unit ctest coverage parsl-suite bench soak restarts chaos differential simulate fuzz docs lint format wheels clean distclean

build: .venv/.built ## set up .venv and build the core (what make alone does)

help: ## say this
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

engine: ## find TaskVine, or unpack it into .taskvine; with SUITE=forky that of this release of Debian
	@$(PYTHON) scripts/install-taskvine $(if $(SUITE),--suite $(SUITE))

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

demo: build ## the melting of a copper cluster
	$(BIN)/python examples/molecular_dynamics.py

# So many files of tests run at the same time, if all tests run. Most of a test's time is spent waiting, so one more than there are
# cores; but more than a few at once would make it wait for the machine. JOBS=0 for what wants a terminal or the tests in their order,
# such as --pdb.
JOBS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n + 1 : 4)))

# PYTEST_ARGS go to pytest as well.
test: build $(if $(T),,ctest) ## all tests, in JOBS processes; with T=tests/data, T='tests -k cached' ... these alone, in one
ifdef T
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(T)
else
	$(BIN)/python -m pytest -q benches --benchmark-disable
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)
	$(MAKE) --no-print-directory parsl-suite
endif

# uv finds the lowest releases that have a wheel for this Python. vinefast itself is used as it lies, built for the newest. What the tests
# need beside it need not be old. pandas is for Parsl's suite.
OLDEST := .venv-oldest
TEST_TOOLS := 'pytest<9' pytest-timeout pytest-xdist hypothesis 'parsl[monitoring]' pandas pytest-random-order pytest-rerunfailures

$(OLDEST)/.installed: pyproject.toml | build
	@echo 'Installing the oldest releases of what vinefast needs into $(OLDEST) ...'
	@$(PIP) install -q 'vinefast[oldest]'
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(OLDEST)
	@$(BIN)/uv pip compile -q --resolution lowest-direct --only-binary :all: --python $(OLDEST)/bin/python -o build/oldest.txt pyproject.toml
	@$(BIN)/uv pip install -q --only-binary :all: --python $(OLDEST)/bin/python -r build/oldest.txt $(TEST_TOOLS)
	@$(OLDEST)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' | xargs -I{} sh -c 'pwd > {}/vinefast.pth'
	@touch $@

OLDEST_TESTS := tests/test_parsl_reliance.py tests/test_executor_unit.py tests/calls tests/integration/test_monitoring.py

test-oldest: $(OLDEST)/.installed ## a part of them, and Parsl's suite, with the oldest releases that vinefast works with
	$(OLDEST)/bin/python -m pytest -q -n $(JOBS) --dist loadfile $(PYTEST_ARGS) $(OLDEST_TESTS)
	$(OLDEST)/bin/python tests/parsl_suite/run.py serverless

unit: build ctest-plain ## the quick tests: no sanitizers, and none that starts processes
	$(BIN)/python -m pytest -q -m 'not processes' $(PYTEST_ARGS)

MODE ?= serverless
parsl-suite: build ## Parsl's own tests, with vinefast as the executor; MODE=regular, MODE=htex
	$(BIN)/python tests/parsl_suite/run.py $(MODE)

bench: build ## measure, stage by stage; with T=benches/bench_pack.py that alone
	$(BIN)/python -m pytest $(or $(T),benches) $(PYTEST_ARGS)

# The faults that need namespaces are left out where these cannot be had, which it says.
SECONDS := 3600
soak: build ## an hour of calls with all kinds of faults; SECONDS=60, SEED=1; figures in build/soak
	$(BIN)/python -m benches.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) --picture build/soak/soak.svg

restarts: build ## an hour of programs that are killed and started anew; SECONDS=60, SEED=1; figures in build/restarts
	$(BIN)/python -m benches.soak.restarts --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# What shrinks a failure tries its steps for minutes, with SHRINK=1.
chaos: build ## an hour of random bundles and faults for the library on workers; SECONDS=60, SEED=1
	VINEFAST_CHAOS_SECONDS=$(SECONDS) VINEFAST_CHAOS_SEED=$(SEED) VINEFAST_CHAOS_SHRINK=$(SHRINK) \
	  $(BIN)/python -m pytest -s $(PYTEST_ARGS) tests/library/test_state_machine.py

differential: build ## an hour of random programs, on vinefast as on executors of Parsl's; SECONDS=60, SEED=1, MODE=regular
	VINEFAST_DIFFERENTIAL_SECONDS=$(SECONDS) VINEFAST_DIFFERENTIAL_SEED=$(SEED) VINEFAST_DIFFERENTIAL_MODE=$(MODE) \
	  $(BIN)/python -m pytest -s $(PYTEST_ARGS) tests/differential

.venv/.lint: pyproject.toml | build
	@$(PIP) install -q -e '.[lint]'
	@touch $@

lint: build .venv/.lint $(patsubst csrc/%.c,build/lint/%.ok,$(CSRC) $(PRELOAD)) ## formats, types, stubs, imports, spelling, and what analyzers say of csrc
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint vinefast benches
	$(BIN)/clang-format --dry-run -Werror csrc/*.[ch] csrc/*/*.[ch]
	$(BIN)/codespell
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=. basedpyright --verifytypes vinefast --ignoreexternal
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/stubtest --mypy-config-file pyproject.toml --concise --ignore-missing-stub --ignore-disjoint-bases vinefast._core

# Without optimization, which would take faults away before they are seen. What gcc's analyzer is not asked for: it thinks that a pointer
# may be NULL because it was compared with one that is, and does not see that memcpy() sets a pointer; memcpy() of no bytes from NULL
# does no harm.
GCC_ANALYZER := -O0 -fanalyzer -Wno-analyzer-null-dereference -Wno-analyzer-null-argument -Wno-analyzer-use-of-uninitialized-value

# .clang-tidy says what the other is asked for.
build/lint/%.ok: csrc/%.c $(wildcard csrc/*.h) Makefile .clang-tidy | .venv/.lint build/ctest/engine.cflags
	@mkdir -p $(@D)
	@echo 'analyze $*'
	@gcc $(CTEST_CFLAGS) $(GCC_ANALYZER) @build/ctest/engine.cflags -c $< -o /dev/null
	@$(BIN)/clang-tidy --quiet $< -- -std=gnu11 -Icsrc $$(cat build/ctest/engine.cflags) 2> build/lint/$*.log || { cat build/lint/$*.log >&2; exit 1; }
	@touch $@

format: .venv/.lint ## lay the code out as make lint wants it
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i csrc/*.[ch] csrc/*/*.[ch]

# What is installed in place need not be built again for its extras.
.venv/.docs: pyproject.toml | build
	@$(PIP) install -q 'vinefast[docs]'
	@touch $@

# -E: Sphinx does not know of what tables are made of.
docs: build .venv/.docs ## the site, in build/docs; and check that what the documents name is there: files, headings, targets, commands
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html -d build/doctrees docs build/docs
	$(BIN)/python -m pytest -q -m 'not processes' tests/test_docs.py tests/docs

.venv/.wheels: pyproject.toml | build
	@$(PIP) install -q 'vinefast[wheels]'
	@touch $@

# Such as PYTHONS=python3.12; all that are found without it.
wheels: build .venv/.wheels ## wheels with the engine inside, in dist/; and try each where there is nothing but Python
	$(BIN)/python wheels/build.py $(PYTHONS)
	VINEFAST_WHEELS=$(CURDIR)/dist $(BIN)/python -m pytest -n0 -q tests/wheels $(PYTEST_ARGS)

# C unit tests. Every test is linked with an archive of all of csrc, from which the linker takes what it calls; in a group with the
# engine, since the engine calls the functions that replace its own.

CTESTS := $(patsubst csrc/tests/%.c,%,$(wildcard csrc/tests/$(if $(filter ctest,$(MAKECMDGOALS)),$(or $(T),test_*),test_*).c))
CTESTS_THREADED := $(foreach t,$(CTESTS),$(if $(shell grep -lE 'pthread|threads\.h|cluster\.h' csrc/tests/$(t).c),$(t)))
# What tests share.
CTEST_PARTS := $(patsubst csrc/tests/%.c,%,$(filter-out csrc/tests/test_%,$(wildcard csrc/tests/*.c)))
CTEST_CFLAGS := -std=gnu11 -g -Wall -Wextra -Werror -pthread -Icsrc
# What compilers of some distributions have by default.
CTEST_FLAGS_plain := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -Wno-cpp
CTEST_FLAGS_address := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
CTEST_FLAGS_thread := -O1 -fsanitize=thread
# Forked processes leave what they have counted at exit().
CTEST_FLAGS_coverage := -O0 --coverage -fprofile-update=atomic -D_exit=exit
# What counts calls malloc(), too, which is replaced by ours.
CTEST_LIBS_coverage := -lgcov
# What csrc calls for memory, or for what takes some: in the tests csrc/tests/faults.c has a function of its own for each, which can fail.
FAULTS := malloc calloc realloc aligned_alloc strdup strndup asprintf __asprintf_chk pthread_create vine_task_create \
  vine_declare_buffer vine_declare_temp vine_declare_file
# And other calls that can be made to fail there.
FAILURES := getrlimit fcntl ftruncate rename epoll_create1 getrandom pthread_attr_init SSL_set_fd BIO_read vine_submit vine_task_add_input
OBJCOPY ?= objcopy
CTEST_RUNS := $(CTESTS:%=build/ctest/plain/%.ok) $(CTESTS:%=build/ctest/address/%.ok) \
  $(CTESTS_THREADED:%=build/ctest/thread/%.ok)
# Of T=fuzz_result and the like, the inputs of csrc/fuzz/corpus are run.
REPLAYS := $(patsubst csrc/fuzz/fuzz_%.c,%,$(wildcard csrc/fuzz/$(if $(filter ctest,$(MAKECMDGOALS)),$(or $(T),fuzz_*),fuzz_*).c))
CTEST_RUNS += $(REPLAYS:%=build/ctest/plain/fuzz/%.ok) $(REPLAYS:%=build/ctest/address/fuzz/%.ok)

# The thread sanitizer of older compilers does not know the address layout that newer kernels randomise.
FIXED_LAYOUT := $(shell setarch -R true 2>/dev/null && echo setarch -R)

ctest: $(CTEST_RUNS) $(if $(T),,build/simulate/seeds.ok) ## C tests, also under the sanitizers; with T=test_vf_ring that alone
	@$(if $(CTESTS)$(REPLAYS),,echo 'csrc/tests has no $(T).c' >&2; exit 1)

.PHONY: ctest-plain
ctest-plain: $(CTESTS:%=build/ctest/plain/%.ok) $(REPLAYS:%=build/ctest/plain/fuzz/%.ok)

build/ctest/engine.cflags build/ctest/engine.libs: build/ctest/engine.%: .venv/.built
	@mkdir -p $(@D)
	@$(BIN)/python conf/taskvine.py $* > $@

define ctest_variant
build/ctest/$(1)/%.o: csrc/%.c $$(wildcard csrc/*.h) build/ctest/engine.cflags
	@mkdir -p $$(@D)
	@$$(CC) $$(CTEST_CFLAGS) $$(CTEST_FLAGS_$(1)) @build/ctest/engine.cflags -c $$< -o $$@

build/ctest/$(1)/libvf.a: $$(CSRC:csrc/%.c=build/ctest/$(1)/%.o)
	@rm -f $$@ && $$(AR) rcs $$@ $$^
	@$$(OBJCOPY) $$(foreach name,$$(FAULTS) $$(FAILURES),--redefine-sym $$(name)=faults_$$(name)) $$@

$$(CTEST_PARTS:%=build/ctest/$(1)/tests/%.o): $$(wildcard csrc/tests/*.h)

build/ctest/$(1)/libtests.a: $$(CTEST_PARTS:%=build/ctest/$(1)/tests/%.o)
	@rm -f $$@ && $$(AR) rcs $$@ $$^

build/ctest/$(1)/%.ok: csrc/tests/%.c build/ctest/$(1)/libtests.a build/ctest/$(1)/libvf.a build/ctest/engine.libs
	@$$(CC) $$(CTEST_CFLAGS) $$(CTEST_FLAGS_$(1)) @build/ctest/engine.cflags \
	  $$< -Wl,--start-group build/ctest/$(1)/libtests.a build/ctest/$(1)/libvf.a @build/ctest/engine.libs \
	  $$(CTEST_LIBS_$(1)) -Wl,--end-group -o $$(@:.ok=)
	@echo 'ctest $(1) $$*' && $$(FIXED_LAYOUT) $$(@:.ok=) && touch $$@
endef
$(foreach variant,plain address thread coverage,$(eval $(call ctest_variant,$(variant))))

# What is still reachable at the end is no error.
build/ctest/valgrind/%.ok: build/ctest/plain/%.ok
	@mkdir -p $(@D)
	@echo 'valgrind $*' && valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --suppressions=csrc/tests/valgrind.supp $(<:.ok=) && touch $@

valgrind: $(CTESTS:%=build/ctest/valgrind/%.ok) ## C tests in valgrind, TaskVine with them; needs valgrind

# Python tests on a core with the sanitizers; what they start runs without (tests/conftest.py). What Python leaves to the end of its process
# would count as leaked.
SANITIZED := LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0:handle_segv=0:allocator_may_return_null=1:verify_asan_link_order=0

build/sanitized/.built: .venv/.built $(wildcard csrc/*.[ch] vinefast/*.p[yx]* vinefast/*/*.px[id])
	@rm -rf build/sanitized
	$(SANITIZED) VINEFAST_SANITIZE=address,undefined \
	  $(BIN)/python setup.py -q build --build-base build/sanitized --build-lib build/sanitized/lib
	@touch $@

sanitize: build/sanitized/.built ## Python tests with the core under the address and undefined-behaviour sanitizers; T=tests/core those alone
	$(SANITIZED) VINEFAST_CORE=build/sanitized/lib $(FIXED_LAYOUT) \
	  $(BIN)/pytest -q -o pythonpath='build/sanitized/lib .' $(PYTEST_ARGS) $(or $(T),tests/core tests/calls tests/integration)

# The simulation: csrc as it is, on a stand-in for TaskVine, a virtual clock and workers by a script (docs/reliability.md). What csrc calls
# for the time is redirected; of what conf/border.py has the linker replace, the stand-in has its own.
SIMULATION := $(patsubst csrc/simulation/%.c,build/simulate/%.o,$(wildcard csrc/simulation/*.c))
SIMULATED_SECONDS := $(if $(filter command,$(firstword $(origin SECONDS))),$(SECONDS),60)
SIMULATED := clock_gettime time poll usleep getpid shutdown
SIMULATE := $(FIXED_LAYOUT) build/simulate/simulate --about "$$(git describe --always --dirty 2>/dev/null || echo unknown)"

build/simulate/%.o: csrc/simulation/%.c $(wildcard csrc/*.h csrc/simulation/*.h) build/ctest/engine.cflags
	@mkdir -p $(@D)
	@$(CC) $(CTEST_CFLAGS) $(CTEST_FLAGS_address) @build/ctest/engine.cflags -c $< -o $@

define simulate_variant
build/$(1)/libvf.a: $(CSRC:csrc/%.c=build/ctest/$(2)/%.o)
	@mkdir -p $$(@D)
	@rm -f $$@ && $$(AR) rcs $$@ $$^
	@$$(OBJCOPY) $$(foreach name,$$(SIMULATED),--redefine-sym $$(name)=simulated_$$(name)) $$@

build/$(1)/simulate: $(SIMULATION) build/$(1)/libvf.a build/ctest/engine.libs
	@$$(CC) $(CTEST_FLAGS_address) $(3) -pthread $(SIMULATION) build/$(1)/libvf.a \
	  $$$$(grep -oE -- '-Wl,--wrap=[a-z_]+|-l[a-z]+' build/ctest/engine.libs) -o $$@
endef
$(eval $(call simulate_variant,simulate,address))
$(eval $(call simulate_variant,simulate/coverage,coverage,--coverage))

# Those that have found something, in seconds; each twice, since the same seed is the same run.
build/simulate/seeds.ok: build/simulate/simulate csrc/simulation/seeds.txt
	@echo 'simulate seeds' && $(SIMULATE) --kept csrc/simulation/seeds.txt --twice && touch $@

# TRACE=1: one run, with all that happens in it.
simulate: build/simulate/simulate ## the C core on a simulated TaskVine for a minute; SECONDS=600, HOURS=100 of its own, SEED=1 TRACE=1
	@$(SIMULATE) --seed $(or $(SEED),$$RANDOM$$RANDOM) $(if $(TRACE),--trace,$(if $(HOURS),--hours $(HOURS),--seconds $(SIMULATED_SECONDS)))

# Coverage: of csrc by all C tests, the simulation and the Python tests, of the core and the library by the latter. What optimization takes
# away would count as never run. A test that fails has been told of, and what it has run counts. Each time anew, since counts add up.
COVERED := build/covered/lib
COVERAGE_TESTS := tests/calls tests/core tests/data tests/events tests/settings tests/library tests/test_e*.py tests/test_log_locks.py \
  tests/test_wrong_types.py tests/integration
COVERAGE_RUNS := $(CTESTS:%=build/ctest/coverage/%.ok) $(REPLAYS:%=build/ctest/coverage/fuzz/%.ok)

build/covered/.built: .venv/.built $(wildcard csrc/*.[ch] vinefast/*.p[yx]* vinefast/*/*.p[yx]*)
	@rm -rf build/covered
	VINEFAST_COVERAGE=1 $(BIN)/python setup.py -q build --build-base build/covered --build-lib $(COVERED) > build/covered.log 2>&1
	@touch $@

coverage: build/covered/.built .venv/.lint build/simulate/coverage/simulate ## which lines of csrc, core and library no test runs, and why; half an hour; T=tests/core for less
	@rm -rf build/coverage $(COVERAGE_RUNS)
	@find build/covered build/ctest/coverage -name '*.gcda' -delete
	@mkdir -p build/coverage
	@$(MAKE) --no-print-directory -j $(or $(filter-out 0,$(JOBS)),1) $(COVERAGE_RUNS)
	build/simulate/coverage/simulate --seed 91000000 --seconds 60 > build/coverage/simulate.log
	-VINEFAST_CORE=$(COVERED) PYTHONPATH=$(CURDIR)/tests/coverage $(BIN)/python -m coverage run -m pytest -o pythonpath='$(COVERED) .' -q -n $(JOBS) \
	  --dist loadfile --timeout 300 $(PYTEST_ARGS) $(or $(T),$(COVERAGE_TESTS))
	@$(BIN)/python scripts/report-coverage build/ctest/coverage build/covered

# Fuzzing: csrc/fuzz/fuzz_*.c take whatever comes from outside. clang's libFuzzer makes up inputs, and what brings it further grows in
# build/fuzz/corpus; those of csrc/fuzz/corpus are run with make ctest, with any compiler.

FUZZERS := $(patsubst csrc/fuzz/fuzz_%.c,%,$(wildcard csrc/fuzz/$(if $(filter fuzz,$(MAKECMDGOALS)),$(or $(T),fuzz_*),fuzz_*).c))
FUZZ_CC ?= clang
CTEST_FLAGS_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
# TaskVine forgets some memory with each worker.
FUZZ_FLAGS_worker := -detect_leaks=0
build/ctest/fuzz/%: CC = $(FUZZ_CC)
$(eval $(call ctest_variant,fuzz))
$(CSRC:csrc/%.c=build/ctest/fuzz/%.o) $(CTEST_PARTS:%=build/ctest/fuzz/tests/%.o): | build/fuzz/compiler

define fuzz_variant
build/ctest/$(1)/fuzz/%: csrc/fuzz/fuzz_%.c $(2) csrc/fuzz/fuzz.h build/ctest/$(1)/libtests.a build/ctest/$(1)/libvf.a build/ctest/engine.libs
	@mkdir -p $$(@D)
	@$$(CC) $$(CTEST_CFLAGS) $$(CTEST_FLAGS_$(1)) $(3) -Icsrc/tests @build/ctest/engine.cflags $$< $(2) -Wl,--start-group \
	  build/ctest/$(1)/libtests.a build/ctest/$(1)/libvf.a @build/ctest/engine.libs $$(CTEST_LIBS_$(1)) -Wl,--end-group -o $$@

build/ctest/$(1)/fuzz/%.ok: build/ctest/$(1)/fuzz/% $(wildcard csrc/fuzz/corpus/*/*)
	@echo 'ctest $(1) fuzz_$$*' && $$(FIXED_LAYOUT) $$< csrc/fuzz/corpus/$$* && touch $$@
endef
$(foreach variant,plain address coverage,$(eval $(call fuzz_variant,$(variant),csrc/fuzz/replay.c)))
$(eval $(call fuzz_variant,fuzz,,-fsanitize=fuzzer))

# What was made once is not made again for each run.
.SECONDARY: $(foreach variant,plain address coverage fuzz,$(REPLAYS:%=build/ctest/$(variant)/fuzz/%))

build/fuzz/compiler:
	@mkdir -p $(@D)
	@echo 'int LLVMFuzzerTestOneInput(const char *data, long n) { return data && n < 0; }' | \
	  $(FUZZ_CC) -x c -fsanitize=fuzzer,address,undefined -o $@ - 2> $@.log \
	  || { echo 'make fuzz needs clang with libFuzzer, as of Debian'"'"'s packages clang and libclang-rt-dev; FUZZ_CC names another than $(FUZZ_CC)' >&2; exit 1; }

.PHONY: $(FUZZERS:%=fuzz-%)
fuzz: SECONDS := 60
fuzz: $(FUZZERS:%=fuzz-%) ## what comes from outside, made up by libFuzzer: a minute for each target; SECONDS=600, T=fuzz_result
	@$(if $(FUZZERS),,echo 'csrc/fuzz has no $(T).c' >&2; exit 1)

$(FUZZERS:%=fuzz-%): fuzz-%: build/fuzz/compiler build/ctest/fuzz/fuzz/%
	@mkdir -p build/fuzz/corpus/$* build/fuzz/found
	@echo 'fuzz $* for $(SECONDS) s' && { $(FIXED_LAYOUT) build/ctest/fuzz/fuzz/$* -max_total_time=$(SECONDS) -timeout=60 -rss_limit_mb=4096 \
	  -print_final_stats=1 $(FUZZ_FLAGS_$*) -artifact_prefix=build/fuzz/found/$*- build/fuzz/corpus/$* csrc/fuzz/corpus/$* \
	  > build/fuzz/$*.log 2>&1 || { grep -E 'not so|never|ERROR|SUMMARY|runtime error' build/fuzz/$*.log >&2; \
	  sed -nE 's|.*written to (build/fuzz/found/.*)|Found, and done again by: build/ctest/fuzz/fuzz/$* \1|p' build/fuzz/$*.log >&2; exit 1; }; }
	@sed -nE 's/^(#[0-9]+\s+DONE.*)/$*: \1/p' build/fuzz/$*.log

clean: ## what was built
	rm -rf build dist *.egg-info vinefast/_build_info.py vinefast/*.so vinefast/workers/*.so benches/*.so .venv/.[bdil]*

distclean: clean ## and what was installed
	rm -rf .venv $(OLDEST) .taskvine
