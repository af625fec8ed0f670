# seqmsed: GNU make. `make help` lists the targets.
#
# Every variant has a folder of its own (build, build/asan, build/tsan, build/fuzz), and every folder remembers the flags it
# was built with, so that objects of different kinds never meet.

VERSION := 0.1.0

# A variant is chosen with VARIANT=asan, tsan or fuzz; empty is the release.
VARIANT ?=
BUILD   ?= build$(if $(VARIANT),/$(VARIANT))
DEPS    := build/deps
PYTHON  ?= /usr/bin/python3
JOBS    ?= $(shell nproc)
PREFIX  ?= /usr/local
WERROR  ?=

ifeq ($(origin CC),default)
CC := $(if $(filter fuzz,$(VARIANT)),clang,gcc)
endif

# ---- what we link against ---------------------------------------------------------------------------------------------------
# Asked for when a recipe runs, not when this file is read: `make test` may install them first.

LIB_PKGS := libprotobuf-c libzip jansson libcrypto
APP_PKGS := libuv libmicrohttpd sqlite3
DL_PKGS  := openblas # headers only: opened at run time, like ONNX Runtime

pkg_cflags = $(shell pkg-config --cflags $(LIB_PKGS) $(APP_PKGS) $(DL_PKGS) 2>/dev/null)
lib_libs   = $(shell pkg-config --libs $(LIB_PKGS)) -lpthread -ldl -lm
app_libs   = $(shell pkg-config --libs $(APP_PKGS)) $(lib_libs)

# ONNX Runtime: headers at compile time, the library is opened at run time. Yours (ONNXRUNTIME_ROOT=/path with include/ and
# lib/), the system's (pkg-config), or what `make deps` fetched, in this order.
ORT_MIN := 1.28
ifdef ONNXRUNTIME_ROOT
ort_cflags  := -isystem $(ONNXRUNTIME_ROOT)/include -isystem $(ONNXRUNTIME_ROOT)/include/onnxruntime
ort_library := $(abspath $(ONNXRUNTIME_ROOT))/lib/libonnxruntime.so.1
else ifeq ($(shell pkg-config --exists 'libonnxruntime >= $(ORT_MIN)' 2>/dev/null && echo yes),yes)
ort_cflags  := $(shell pkg-config --cflags libonnxruntime)
ort_library := libonnxruntime.so.1
else
ort_cflags  := -isystem $(DEPS)/onnxruntime/include
ort_library := $(abspath $(DEPS))/onnxruntime/lib/libonnxruntime.so.1
endif

# ---- flags ------------------------------------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla \
	$(if $(filter 1 yes,$(WERROR)),-Werror)

# Results are compared bit by bit: no fused multiply-add unless a kernel asks for one by name, and never fast-math.
NUMERIC := -ffp-contract=off

HARDEN         := -fstack-protector-strong -fstack-clash-protection -fPIE
HARDEN_LDFLAGS := -pie -Wl,-z,relro,-z,now
ifneq ($(filter x86_64 i%86,$(shell uname -m)),)
HARDEN += -fcf-protection
endif

ifeq ($(VARIANT),)
OPT      := -O3 -g $(HARDEN) -D_FORTIFY_SOURCE=$(if $(findstring clang,$(CC)),2,3)
OPT_LINK := $(HARDEN_LDFLAGS)
else ifeq ($(VARIANT),asan)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_LINK := -fsanitize=address,undefined
else ifeq ($(VARIANT),tsan)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
OPT_LINK := -fsanitize=thread
else ifeq ($(VARIANT),fuzz)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPT_LINK := -fsanitize=address,undefined
else
$(error unknown VARIANT "$(VARIANT)": asan, tsan, fuzz, or nothing)
endif

CPPFLAGS_ALL = -D_GNU_SOURCE -DSEQMSED_VERSION='"$(VERSION)"' -I. -I$(BUILD)/gen $(pkg_cflags) $(CPPFLAGS)
CFLAGS_ALL   = -std=c17 $(OPT) $(NUMERIC) $(CFLAGS) -MMD -MP
LDFLAGS_ALL  = $(OPT_LINK) -Wl,--as-needed $(LDFLAGS)

# `make V=1` shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '%-6s %s\n' $(1) $@)

compile = $(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(WARN) -c -o $@ $<
# Code that a generator wrote is not ours to warn about.
compile_generated = $(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -w -c -o $@ $<

# ---- files ------------------------------------------------------------------------------------------------------------------

ONNX_PROTO ?= /usr/include/onnx/onnx.proto

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

CORE_OBJ := $(call obj,$(sort $(wildcard core/*.c)))
GEN_OBJ  := $(BUILD)/obj/gen/onnx.pb-c.o
MAIN_OBJ := $(call obj,$(wildcard server/main.c))
APP_OBJ  := $(call obj,$(sort $(filter-out server/main.c,$(wildcard server/*.c api/*.c))))

MIGRATIONS := $(sort $(wildcard migrations/*.sql))
ifneq ($(MIGRATIONS),)
APP_OBJ += $(BUILD)/obj/gen/migrations.o
endif

LIB     := $(BUILD)/libseqmse.a
APP_LIB := $(if $(APP_OBJ),$(BUILD)/libseqmsed-app.a)
BIN     := $(if $(MAIN_OBJ),$(BUILD)/seqmsed)

# tests/unit/test_*.c are programs; other files there are helpers linked into each of them.
UNIT_SRC    := $(sort $(wildcard tests/unit/test_*.c))
UNIT_HELP   := $(call obj,$(sort $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))))
UNIT_BIN    := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRC))
FUZZ_SRC    := $(sort $(wildcard tests/fuzz/fuzz_*.c))
REPLAY_BIN  := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/tests/replay_%,$(FUZZ_SRC))
FUZZ_BIN    := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz_%,$(FUZZ_SRC))
OBJ := $(CORE_OBJ) $(APP_OBJ) $(MAIN_OBJ) $(UNIT_HELP) $(call obj,$(UNIT_SRC) $(FUZZ_SRC) tests/fuzz/replay.c)

.DEFAULT_GOAL := all
.PHONY: all lib tests deps deps-dev demo test check golden bench fuzz asan-check tsan-check format format-check lint install clean \
	distclean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

## all: (default) build/seqmsed and build/libseqmse.a
all: $(BIN) $(APP_LIB) $(LIB)

## lib: only build/libseqmse.a
lib: $(LIB)

## deps: installs the Debian packages and fetches ONNX Runtime into build/deps (root, unless all packages are there)
deps:
	docker/deps.sh $(DEPS)

## deps-dev: deps, and the tools of format, lint, fuzz and CI
deps-dev:
	docker/deps.sh --dev $(DEPS)

## demo: from nothing: deps, build, quantize the sample model, show what happened
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@PYTHONPATH=$(DEPS)/python $(PYTHON) tests/demo.py --seqmsed $(BUILD)/seqmsed

## test: from nothing: deps, build, and every test
test:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$(JOBS) all tests
	@$(PYTHON) tests/run.py --build $(BUILD)

## check: builds and runs the unit tests only
check: all tests
	@$(PYTHON) tests/run.py --build $(BUILD) unit fuzz

## golden: compares with the reference's results in $SEQMSED_SHARED (default ../shared)
golden: all
	@$(PYTHON) tests/run.py --build $(BUILD) golden

## bench: seconds, passes and memory over the models in $SEQMSED_SHARED
bench: all
	@PYTHONPATH=$(DEPS)/python $(PYTHON) tests/bench/bench.py --seqmsed $(BUILD)/seqmsed $(BENCH)

## asan-check: the test suite under AddressSanitizer and UBSan, in build/asan
asan-check:
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=asan all tests
	@$(PYTHON) tests/run.py --build build/asan unit fuzz cli http golden-small

## tsan-check: the threaded tests under ThreadSanitizer, in build/tsan
tsan-check:
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=tsan all tests
	@$(PYTHON) tests/run.py --build build/tsan unit http golden-small

## fuzz: builds the fuzz targets with clang into build/fuzz (run one: build/fuzz/fuzz_NAME tests/fuzz/corpus/NAME)
fuzz:
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=fuzz fuzz-targets

.PHONY: fuzz-targets
fuzz-targets: $(FUZZ_BIN)

## format: clang-format over all C files
format:
	git ls-files -z '*.c' '*.h' | xargs -0 clang-format -i

## lint: clang-tidy and cppcheck
lint: $(BUILD)/gen/onnx.pb-c.h
	cppcheck --quiet --std=c11 --enable=warning,portability,performance --inline-suppr --error-exitcode=1 \
		--suppress=missingIncludeSystem --suppress=varFuncNullUB -D_GNU_SOURCE -DSEQMSED_VERSION='""' -DSEQMSED_ORT_LIBRARY='""' -I. \
		$(wildcard core server api)
	printf '%s\n' $(wildcard core/*.c server/*.c api/*.c) | xargs -P $(JOBS) -n 4 sh -c 'clang-tidy --quiet "$$@" -- \
		-std=c17 $(filter-out -DSEQMSED_VERSION%,$(CPPFLAGS_ALL)) $(ort_cflags) -DSEQMSED_VERSION="\"\"" \
		-DSEQMSED_ORT_LIBRARY="\"\"" 2>/dev/null' clang-tidy

## install: the binary, the library and its headers under PREFIX (default /usr/local)
install: all
	install -D -t $(DESTDIR)$(PREFIX)/bin $(BIN)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib $(LIB)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/include/seqmse $(wildcard core/*.h)

## clean: removes what was built, keeps build/deps
clean:
	@if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} +; fi

## distclean: removes build altogether
distclean:
	rm -rf build

## help: this list
help:
	@sed -n 's/^## \([a-z-]*\): /  \1\t/p' Makefile | expand -t 16

# ---- rules ------------------------------------------------------------------------------------------------------------------

# Changes only when the compiler or its flags change; everything compiled depends on it.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(WARN) $(ort_cflags) $(ort_library))' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/obj/core/ort.o: private CPPFLAGS_ALL += $(ort_cflags) -DSEQMSED_ORT_LIBRARY='"$(ort_library)"'

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | $(BUILD)/gen/onnx.pb-c.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(compile)

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(compile_generated)

$(BUILD)/gen/onnx.pb-c.c $(BUILD)/gen/onnx.pb-c.h &: $(ONNX_PROTO)
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)protoc-c --proto_path=$(dir $(ONNX_PROTO)) --c_out=$(@D) $(notdir $(ONNX_PROTO))

# migrations/0001_first_tables.sql becomes {1, "first_tables", "…"}.
$(BUILD)/gen/migrations.c: $(MIGRATIONS) Makefile
	@mkdir -p $(@D)
	$(call say,GEN)
	@{ printf '#include "server/migrate.h"\n\nconst struct migration migrations[] = {\n'; \
	for f in $(MIGRATIONS); do \
		b=$$(basename $$f .sql); n=$$(echo $$b | sed 's/_.*//; s/^0*//'); \
		printf '{%s, "%s",\n' $$n "$${b#*_}"; \
		sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$$/\\n"/' $$f; \
		printf '},\n'; \
	done; \
	printf '};\nconst size_t migrations_len = sizeof migrations / sizeof *migrations;\n'; } >$@

$(LIB): $(CORE_OBJ) $(GEN_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(APP_LIB): $(APP_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/seqmsed: $(MAIN_OBJ) $(APP_LIB) $(LIB)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(app_libs)

tests: $(UNIT_BIN) $(if $(wildcard tests/fuzz/replay.c),$(REPLAY_BIN))

$(BUILD)/tests/test_%: $(BUILD)/obj/tests/unit/test_%.o $(UNIT_HELP) $(APP_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcmocka $(app_libs)

$(BUILD)/tests/replay_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/replay.o $(APP_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(app_libs)

$(BUILD)/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(APP_LIB) $(LIB)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(app_libs)

# LLVMFuzzerTestOneInput has no header of its own to be declared in.
$(BUILD)/obj/tests/fuzz/%.o: private WARN += -Wno-missing-prototypes

-include $(OBJ:.o=.d)
