# Penstock: see `make help`. Objects and programs go to $(BUILD); DESTDIR, PREFIX, CC, CFLAGS are honoured.
BUILD   ?= build
PREFIX  ?= /usr/local
CC      ?= gcc
CLANG   ?= clang
OPT     ?= -O2 -g
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)
BIN     := $(BUILD)/bin

PKGS_CORE  := libdpdk liburing libcurl libssl libcrypto yaml-0.1 libmicrohttpd sqlite3 zlib libzstd jemalloc
PKGS_LOCAL := libmicrohttpd jansson sqlite3 zlib libcrypto
WARN  := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wvla -Wmissing-prototypes
WARN  += $(if $(CI),-Werror)
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
STD   := -std=gnu11 -D_GNU_SOURCE -I. -fno-strict-aliasing -pthread
FLAGS  = $(STD) $(WARN) $(OPT) $(CFLAGS)

# DPDK's own flags raise the baseline to SSE4.2 and pull in rte_config.h. Its headers are system headers:
# their warnings are not ours.
CORE_CFLAGS = $(shell pkg-config --cflags $(PKGS_CORE) 2>/dev/null | sed 's/-I/-isystem /g')
CORE_LIBS   = -Wl,--as-needed -lrte_ethdev -lrte_eal -lrte_ring -lrte_mempool -lrte_mbuf -luring -lcurl -lssl -lcrypto -lyaml -lmicrohttpd -lsqlite3 -lz -lzstd \
	      -Wl,--no-as-needed -ljemalloc -lm -pthread
PACK_LIBS   = -Wl,--as-needed -lrte_ethdev -lrte_eal -lrte_mempool -lrte_mbuf -lrte_net -pthread
PACKED_LIBS = -lz -lzstd
LOCAL_LIBS  = $(shell pkg-config --libs $(PKGS_LOCAL) 2>/dev/null) -lm -pthread

CORE_SRC  := $(wildcard dataplane/*.c dataplane/*/*.c sinks/*.c sinks/*/*.c) $(filter-out control/main.c,$(wildcard control/*.c))
CLI_SRC   := $(wildcard tools/penstock/*.c)
GEN_SRC   := $(wildcard tools/gen/*.c)
PACK_SRC  := $(wildcard tools/packets/*.c)
LOCAL_SRC := $(wildcard tools/localcloud/*.c)
CHECK_SRC := $(wildcard tools/json-check/*.c)
UNIT_SRC  := $(wildcard tests/unit/test_*.c)
UNIT_LIB  := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c)) tests/fault/sim_disk.c
FUZZ_SRC  := $(wildcard tests/fuzz/fuzz_*.c)

# The simulation (tests/fault/sim.h): the product's own sources, with small sizes, over a simulated disk and cloud; and
# canaries, in which one fault is built in on purpose.
SIM_TEST   := $(wildcard tests/fault/sim*.c)
SIM_FAKED  := dataplane/base/compiler.c dataplane/base/log.c dataplane/base/mem.c dataplane/base/storage.c \
	      sinks/sink.c sinks/delivery/ledger.c sinks/delivery/ledger_query.c sinks/delivery/rows_store.c
SIM_SRC    := $(filter-out $(SIM_FAKED),$(wildcard $(addsuffix /*.c,dataplane/base dataplane/block dataplane/json dataplane/event \
	      dataplane/journal sinks/delivery sinks/dedupe sinks)) dataplane/lane.c sinks/engine/retry.c sinks/engine/answer.c sinks/engine/text.c \
	      sinks/bigquery/bq_insert.c sinks/bigquery/bq_insert_read.c sinks/bigquery/bq_row.c)
SIM_CANARIES := 1 2 3 4 5 6 8
SIM_CANARY := dataplane/journal/writer.c sinks/deliver.c sinks/dedupe.c sinks/dedupe/idlog_read.c sinks/bigquery/bq_insert.c sinks/delivery/spool.c # where faults are built in
SIM_FLAGS  := -DDLOG_FILE_BYTES_MIN=131072ull -DDLOG_ROOM_BYTES_MIN=32768ull -DFRAME_BYTES_MAX=32768u -DREAD_CHUNK_BYTES=65536u \
	      -DPLAN_OBJECTS_PER_LOAD=800 -DSKIPS_BYTES_MAX=2048u -DSCAN_BYTES=20480u -DPENSTOCK_ASSERT_HOT=1 \
	      -DID_SEGMENT_MIN=32768u -DID_SEGMENT_MAX=65536u -DID_PENDING_MAX=8192u -DID_PENDING_WRITE=2048u -DID_RUN_MAX=512u \
	      -DDEDUPE_SLACK_US=10000000 -DPARKED_MANY=0u
SIM_BIN    := $(addprefix $(BUILD)/sim/,sim $(SIM_CANARIES:%=sim_canary%))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
CORE_OBJ := $(call obj,$(CORE_SRC))
LIB      := $(BUILD)/libpenstock.a
CLI_LIB  := $(BUILD)/libpenstockcli.a
JSON_LIB := $(BUILD)/libpenstockjson.a
UNIT_BIN := $(patsubst tests/unit/%.c,$(BUILD)/test/%,$(UNIT_SRC))
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRC))
PROGRAMS := $(BIN)/penstockd $(BIN)/penstock $(BIN)/penstock-gen $(BIN)/penstock-packets $(BIN)/localcloud $(BIN)/json-check

.DEFAULT_GOAL := all
.PHONY: help all setup demo test test-unit test-integration test-fault fuzz bench bench-inputs bench-json lint format check asan tsan \
	range compdb install uninstall clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' Makefile

all: $(PROGRAMS) ## build every program into build/bin

setup: ## install every Debian package that build, demo and tests need (root or sudo)
	$(Q)tools/setup.sh

# demo and test set up first and then build in a second make: the package flags above are read at its start.
demo: ## the main job on this machine: local cloud, 300,000 events, counts, objects, SQL; KEEP=1 leaves it up
	$(Q)tools/setup.sh demo
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all
	$(Q)tools/demo.sh

test: setup ## all set-up, all tests; ends with "N passed, N failed"
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all build-tests
	$(Q)tests/run.sh

build-tests: $(UNIT_BIN) $(FUZZ_BIN) $(SIM_BIN)
.PHONY: build-tests

test-unit: $(UNIT_BIN) ## unit tests only (cmocka)
	$(Q)tests/run.sh unit

test-integration: all ## integration tests only: real daemon, real local cloud
	$(Q)tests/run.sh integration

SCHEDULES ?= 10000
KILLS     ?= 100
test-fault: all $(UNIT_BIN) $(SIM_BIN) ## simulated disk (SCHEDULES, SEED), kill -9 (KILLS), misbehaving cloud, failing disk
	$(Q)PENSTOCK_SCHEDULES=$(SCHEDULES) PENSTOCK_KILLS=$(KILLS) TEST_TIMEOUT=$${TEST_TIMEOUT:-1800} $(if $(SEED),PENSTOCK_SEED=$(SEED)) tests/run.sh fault

SOAK_SECONDS ?= 1800
soak: all ## half an hour of mixed load, faults and restarts: memory flat, verify clean (SOAK_SECONDS)
	$(Q)SOAK_SECONDS=$(SOAK_SECONDS) tests/soak/soak.py

FUZZ_SECONDS ?= 60
fuzz: $(FUZZ_BIN) ## libFuzzer with ASan and UBSan on every input edge, FUZZ_SECONDS each
	$(Q)FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run.sh fuzz

bench: all ## benchmarks: one JSON object a line
	$(Q)perf/run.sh

bench-inputs: ## HTTP, TCP, UDP, TLS and many types beside nginx, rsyslog and bare loops, which it installs: perf/README.md
	$(Q)perf/setup.sh inputs >&2
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all >&2
	$(Q)perf/run.sh http tcp udp types tls latency

bench-json: ## the JSON benchmark beside its peers, which it installs (root or sudo): perf/README.md
	$(Q)perf/setup.sh json >&2
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) all >&2
	$(Q)perf/run.sh json

lint: ## include table, banned calls, headers, format
	$(Q)tools/lint.py
	$(Q)tools/format.sh --check

format: ## clang-format in place
	$(Q)tools/format.sh

check: lint test ## lint and all tests

asan: ## everything built with ASan and UBSan into build-asan, then unit tests
	$(Q)$(MAKE) --no-print-directory BUILD=build-asan NO_JEMALLOC=1 \
	  OPT="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -DPENSTOCK_ASSERT_HOT=1" all build-tests
	$(Q)BUILD=build-asan tests/run.sh unit

tsan: ## everything built with TSan into build-tsan, then unit tests
	$(Q)$(MAKE) --no-print-directory BUILD=build-tsan NO_JEMALLOC=1 \
	  OPT="-O1 -g -fsanitize=thread -DPENSTOCK_ASSERT_HOT=1 -DRTE_USE_C11_MEM_MODEL=1" all build-tests
	$(Q)BUILD=build-tsan tests/run.sh unit

BASE ?= HEAD~5
range: ## build every commit since BASE
	$(Q)tools/range.sh $(BASE)

compdb: ## compile_commands.json for editors
	$(Q)$(MAKE) --no-print-directory -Bnk V=1 all build-tests | tools/compdb.py > compile_commands.json

install: all ## programs, example configuration and unit file into DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/penstock/schemas $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 config/penstock.yaml $(DESTDIR)$(PREFIX)/share/penstock
	install -m 644 config/schemas/*.json $(DESTDIR)$(PREFIX)/share/penstock/schemas
	install -m 644 deploy/penstockd.service $(DESTDIR)$(PREFIX)/lib/systemd/system

uninstall: ## undo install
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,$(notdir $(PROGRAMS)))
	rm -rf $(DESTDIR)$(PREFIX)/share/penstock
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/penstockd.service

clean: ## remove everything that was built
	rm -rf build build-asan build-tsan compile_commands.json

ifdef NO_JEMALLOC
CORE_LIBS := $(filter-out -ljemalloc,$(CORE_LIBS))
CORE_CFLAGS += -DPENSTOCK_NO_JEMALLOC=1
endif

$(CORE_OBJ) $(call obj,control/main.c) $(call obj,$(UNIT_SRC) $(UNIT_LIB)): CFLAGS_EXTRA = $(CORE_CFLAGS)

# Compiled again when the commit has changed, not only when its source has.
ifneq ($(shell cat $(BUILD)/version 2>/dev/null),$(VERSION))
$(shell mkdir -p $(BUILD) && echo '$(VERSION)' > $(BUILD)/version)
endif
$(BUILD)/obj/control/version.o: $(BUILD)/version
$(BUILD)/obj/control/version.o: CFLAGS_EXTRA = $(CORE_CFLAGS) -DPENSTOCK_VERSION='"$(VERSION)"'

$(BUILD)/obj/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  CC  $<")
	$(Q)$(CC) $(FLAGS) $(CFLAGS_EXTRA) -MMD -MP -c -o $@ $<

$(LIB): $(CORE_OBJ)
	$(Q)rm -f $@; ar rcs $@ $^

$(CLI_LIB): $(call obj,$(filter-out tools/penstock/main.c,$(CLI_SRC)))
	$(Q)rm -f $@; ar rcs $@ $^

# The JSON library by itself: what docs/json.md tells others to link.
$(JSON_LIB): $(call obj,$(wildcard dataplane/json/*.c) dataplane/base/compiler.c)
	$(Q)rm -f $@; ar rcs $@ $^

$(BIN)/penstockd: $(call obj,control/main.c) $(LIB)
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) -o $@ $^ $(LDFLAGS) $(CORE_LIBS)

# The command line takes the pure parts of the daemon (JSON, events), and runs where no daemon does.
$(BIN)/penstock: $(call obj,tools/penstock/main.c) $(CLI_LIB) $(LIB)
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) -o $@ $^ $(LDFLAGS) $(PACKED_LIBS) -lcrypto

$(BIN)/penstock-gen: $(call obj,$(GEN_SRC))
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) -o $@ $^ $(LDFLAGS) -lm -pthread

$(call obj,$(PACK_SRC)): CFLAGS_EXTRA = $(CORE_CFLAGS)

$(BIN)/penstock-packets: $(call obj,$(PACK_SRC))
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) -o $@ $^ $(LDFLAGS) $(PACK_LIBS)

$(BIN)/localcloud: $(call obj,$(LOCAL_SRC))
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) -o $@ $^ $(LDFLAGS) $(LOCAL_LIBS)

$(BIN)/json-check: $(call obj,$(CHECK_SRC)) $(JSON_LIB)
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) -o $@ $^ $(LDFLAGS)

$(BUILD)/test/%: $(BUILD)/obj/tests/unit/%.o $(call obj,$(UNIT_LIB)) $(CLI_LIB) $(LIB)
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) -o $@ $^ $(LDFLAGS) -lcmocka -ljansson $(PACKED_LIBS) $(CORE_LIBS)

# The JSON library with its branches counted: test_json_linear.
STEPS_OBJ  := $(patsubst %.c,$(BUILD)/steps/%.o,$(wildcard dataplane/json/*.c))
STEPS_WRAP := -Wl,--wrap=memchr,--wrap=memcpy,--wrap=memmove,--wrap=memset

$(BUILD)/steps/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  CC  $< (steps)")
	$(Q)$(CC) $(FLAGS) -fsanitize-coverage=trace-pc -fno-builtin -MMD -MP -c -o $@ $<

$(BUILD)/test/test_json_linear: $(call obj,tests/unit/test_json_linear.c) $(STEPS_OBJ) $(call obj,$(UNIT_LIB)) $(CLI_LIB) $(LIB)
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) $(STEPS_WRAP) -o $@ $^ $(LDFLAGS) -lcmocka -ljansson $(PACKED_LIBS) $(CORE_LIBS)

sim_obj = $(patsubst %.c,$(BUILD)/sim/$(1)/%.o,$(2))

$(BUILD)/sim/0/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  CC  $< (simulation)")
	$(Q)$(CC) $(FLAGS) $(CORE_CFLAGS) $(SIM_FLAGS) -MMD -MP -c -o $@ $<

define sim_canary
$(BUILD)/sim/$(1)/%.o: %.c
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(FLAGS) $$(CORE_CFLAGS) $$(SIM_FLAGS) -DPENSTOCK_CANARY=$(1) -MMD -MP -c -o $$@ $$<

$(BUILD)/sim/sim_canary$(1): $(call sim_obj,0,$(filter-out $(SIM_CANARY),$(SIM_SRC)) $(SIM_TEST)) $(call sim_obj,$(1),$(SIM_CANARY))
	$$(if $$(Q),@echo "  LD  $$@")
	$$(Q)$$(CC) $$(FLAGS) -o $$@ $$^ $$(LDFLAGS) -Wl,--as-needed -lrte_ring -lrte_eal -lz -lm -pthread
endef
$(foreach n,$(SIM_CANARIES),$(eval $(call sim_canary,$(n))))

$(BUILD)/sim/sim: $(call sim_obj,0,$(SIM_SRC) $(SIM_TEST))
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CC) $(FLAGS) -o $@ $^ $(LDFLAGS) -Wl,--as-needed -lrte_ring -lrte_eal -lz -lm -pthread

# Fuzz targets link a library of their own: the product and what tests share, built with clang's sanitizers.
FUZZ_LIB_SRC := $(CORE_SRC) $(UNIT_LIB) $(filter-out %/main.c,$(CLI_SRC))
FUZZ_LIB     := $(BUILD)/fuzz/libpenstock.a
FUZZ_OBJ     := $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(FUZZ_LIB_SRC) $(FUZZ_SRC))
FUZZ_FLAGS    = $(STD) $(CORE_CFLAGS) -DPENSTOCK_NO_JEMALLOC=1 -O1 -g -DPENSTOCK_ASSERT_HOT=1 \
		-fsanitize=address,undefined -fno-sanitize-recover=undefined

$(BUILD)/fuzz/obj/%.o: %.c
	$(Q)mkdir -p $(@D)
	$(if $(Q),@echo "  CC  $< (fuzzing)")
	$(Q)$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(FUZZ_LIB): $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(FUZZ_LIB_SRC))
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(FUZZ_BIN): $(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(FUZZ_LIB)
	$(if $(Q),@echo "  LD  $@")
	$(Q)$(CLANG) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(filter-out -ljemalloc,$(CORE_LIBS)) -lcmocka -ljansson

ALL_OBJ := $(CORE_OBJ) $(call obj,control/main.c $(CLI_SRC) $(GEN_SRC) $(PACK_SRC) $(LOCAL_SRC) $(CHECK_SRC) $(UNIT_SRC) $(UNIT_LIB))
SIM_OBJ := $(call sim_obj,0,$(SIM_SRC) $(SIM_TEST)) $(foreach n,$(SIM_CANARIES),$(call sim_obj,$(n),$(SIM_CANARY)))
-include $(ALL_OBJ:.o=.d) $(FUZZ_OBJ:.o=.d) $(SIM_OBJ:.o=.d) $(STEPS_OBJ:.o=.d)
.SECONDARY:
