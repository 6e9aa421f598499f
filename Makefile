# SkySense++: make help lists the targets. Read top to bottom: tools, flags, files, rules, targets.
-include config.mk

CC      ?= cc
AR      ?= ar
PREFIX  ?= /usr/local
DESTDIR ?=
TOOLS   ?= sky-ingest sky-tile sky-pack sky-train sky-infer sky-score
STATIC  ?= 0
BUILD   ?= build
SAN     ?=
VERSION := 0.1.0

CFLAGS  ?= -O2 -g
LDFLAGS ?=
# -ffp-contract=off: a*b+c is two roundings everywhere, so that the portable and the vector code agree where they must.
override CFLAGS += -std=c11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
                   -fvisibility=hidden -fno-math-errno -ffp-contract=off -pthread $(SAN)
CPPFLAGS += -Ilibsky -Itests -D_GNU_SOURCE -DSKY_VERSION='"$(VERSION)"' -DSKY_PREFIX='"$(PREFIX)"'

# Only these tools need GDAL; the rest build and run where it is absent.
GEO_TOOLS := sky-ingest sky-tile
NEED_GEO  := $(filter $(GEO_TOOLS),$(TOOLS))
ifneq ($(NEED_GEO),)
GDAL_CFLAGS := $(shell gdal-config --cflags 2>/dev/null)
GDAL_LIBS   := $(shell gdal-config --libs 2>/dev/null)
endif
ifeq ($(STATIC),1)
LIBS := -Wl,-Bstatic -ljansson -lyaml -lminizip -lpng -lzstd -lz -Wl,-Bdynamic -lm
else
LIBS := -ljansson -lyaml -lminizip -lpng -lzstd -lz -lm
endif

# Files that use an instruction set beyond the baseline carry it in their names and are entered only after CPUID.
$(BUILD)/%.avx2.c.o:   override CFLAGS += -mavx2 -mfma
$(BUILD)/%.avx512.c.o: override CFLAGS += -march=x86-64-v4 -mprefer-vector-width=512
$(BUILD)/%.bf16.c.o:   override CFLAGS += -march=x86-64-v4 -mavx512bf16 -mprefer-vector-width=512
$(BUILD)/libsky/geo/%.c.o: CPPFLAGS += $(GDAL_CFLAGS)

LIB_SRC   := $(sort $(wildcard $(foreach d,base format tensor cpu nn train data score,libsky/$(d)/*.c)))
GEO_SRC   := $(sort $(wildcard libsky/geo/*.c))
TEST_SRC  := $(sort $(wildcard tests/unit/*.c tests/tools/*.c tests/golden.c tests/bench/*.c))
# Tests and tools under these names link the geographic library too.
GEO_TESTS := $(patsubst %.c,%,$(notdir $(wildcard tests/unit/geo_*.c)))
LIB   := $(BUILD)/libsky.a
GEO   := $(BUILD)/libskygeo.a
BIN   := $(TOOLS:%=$(BUILD)/bin/%)
TESTS := $(patsubst %.c,$(BUILD)/tests/%,$(notdir $(TEST_SRC)))
ifeq ($(NEED_GEO),)
TESTS := $(filter-out $(GEO_TESTS:%=$(BUILD)/tests/%),$(TESTS))
endif

FLAGS := $(CC) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS) $(GDAL_CFLAGS) $(STATIC)
ifneq ($(FLAGS),$(file <$(BUILD)/flags))
$(shell mkdir -p $(BUILD))$(file >$(BUILD)/flags,$(FLAGS))
endif

all: $(BIN) ## build the tools into build/bin

$(BUILD)/%.c.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_SRC:%=$(BUILD)/%.o)
	@rm -f $@
	$(AR) rcs $@ $^
$(GEO): $(GEO_SRC:%=$(BUILD)/%.o)
	@rm -f $@
	$(AR) rcs $@ $^

$(GEO_TOOLS:%=$(BUILD)/bin/%): $(BUILD)/bin/%: $(BUILD)/cmd/%.c.o $(GEO) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GDAL_LIBS) $(LIBS)
$(BUILD)/bin/%: $(BUILD)/cmd/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(GEO_TESTS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.c.o $(GEO) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GDAL_LIBS) $(LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/unit/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/tools/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/bench/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/golden: $(BUILD)/tests/golden.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

tests: all $(TESTS) ## build the test programs into build/tests

clean: ## remove build/
	rm -rf $(BUILD)

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST)

print-config: ## show what was found
	@echo 'CC=$(CC)  CFLAGS=$(CFLAGS)'; echo 'GDAL=$(if $(GDAL_LIBS),yes,no)  TOOLS=$(TOOLS)  STATIC=$(STATIC)'

.PHONY: all tests clean help print-config
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
