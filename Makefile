# SkySense++: make help lists the targets. Read top to bottom: tools, flags, files, rules, targets.
-include config.mk
MAKEFLAGS += -r

CC      ?= cc
AR      ?= ar
PREFIX  ?= /usr/local
DESTDIR ?=
TOOLS   ?= sky-ingest sky-tile sky-pack sky-train sky-infer sky-score
STATIC  ?= 0
BUILD   ?= build
SAN     ?=
VERSION := 0.1.0
JOBS    ?= 2
MPI     ?= auto
FUZZ_SECONDS ?= 60

CFLAGS  ?= -O2 -g
LDFLAGS ?=
# -ffp-contract=off: a*b+c is two roundings everywhere, so that the portable and the vector code agree where they must.
override CFLAGS += -std=c11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
                   -fvisibility=hidden -fno-math-errno -ffp-contract=off -pthread $(SAN)
CPPFLAGS += -Ilibsky -Itests -D_GNU_SOURCE -DSKY_VERSION='"$(VERSION)"'

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

# Ranks over MPI: MPI=auto|yes|no. Only what uses train/comm.h is linked to it.
MPICC ?= mpicc
ifneq ($(MPI),no)
MPI_CFLAGS := $(if $(filter 1/auto,$(STATIC)/$(MPI)),,$(shell $(MPICC) -showme:compile 2>/dev/null))
MPI_LINK   := $(if $(MPI_CFLAGS),$(shell $(MPICC) -showme:link 2>/dev/null))
endif
ifneq ($(MPI_CFLAGS),)
MPI_LIBS   := -Wl,--push-state,--as-needed $(MPI_LINK) -Wl,--pop-state
MPI_CFLAGS += -DSKY_MPI
else ifeq ($(MPI),yes)
$(error MPI=yes, but '$(MPICC) -showme:compile' says nothing)
endif
$(BUILD)/libsky/train/comm_mpi.c.o $(BUILD)/libsky/train/comm_mpi_sum.c.o $(BUILD)/tests/bench/bench_comm.c.o: CPPFLAGS += $(MPI_CFLAGS)
# For --version: "mpicc: Open MPI 4.1.4 (Language: C)" becomes "MPI 4.1.4 (Open MPI)".
MPI_TEXT := $(if $(MPI_CFLAGS),$(shell $(MPICC) -showme:version 2>/dev/null | sed -nE 's/.*(Open MPI) ([0-9.]+).*/MPI \2 (\1)/p'))
$(BUILD)/cmd/sky-infer.c.o $(BUILD)/cmd/sky-train.c.o: CPPFLAGS += -DSKY_MPI_TEXT='"$(or $(MPI_TEXT),MPI: not built in)"'
$(BUILD)/bin/sky-train $(BUILD)/tests/%: LIBS += $(MPI_LIBS)

# CUDA: auto (built when nvcc is found), yes (an error without it) or no. The runtime is linked in, cuBLASLt and NCCL are
# opened at run time, so the programs also run where there is no GPU. NCCL: the same; its header is what is looked for.
CUDA ?= auto
NCCL ?= auto
NVCC ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
HAVE_CUDA := $(if $(filter no,$(CUDA)),no,$(if $(NVCC),yes,no))
ifeq ($(CUDA)$(HAVE_CUDA),yesno)
$(error CUDA=yes, but there is no nvcc: put it on PATH or say NVCC=/path/to/nvcc)
endif
CUDA_ARCHS ?= 80 90 100
CU_SRC := $(sort $(wildcard kernels/*.cu))
ifeq ($(HAVE_CUDA),yes)
CUDA_HOME  := $(patsubst %/bin/,%,$(dir $(NVCC)))
CUDA_MAJOR := $(shell $(NVCC) --version | sed -n 's/.*release \([0-9]*\).*/\1/p')
NVFLAGS    ?= -O3 -lineinfo $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
              -gencode arch=compute_$(lastword $(CUDA_ARCHS)),code=compute_$(lastword $(CUDA_ARCHS))
override NVFLAGS += -std=c++17 --extended-lambda -Xcompiler -Wall,-Wextra,-fvisibility=hidden,-fno-threadsafe-statics
LIBS += -L$(CUDA_HOME)/lib64 -lcudart_static -ldl -lrt
KERNELS := $(CU_SRC:%=$(BUILD)/%.o)
HAVE_NCCL := $(if $(filter no,$(NCCL)),no,$(if $(wildcard $(CUDA_HOME)/include/nccl.h /usr/include/nccl.h /usr/local/include/nccl.h),yes,no))
$(BUILD)/kernels/nccl.cu.o: override NVFLAGS += $(if $(filter yes,$(HAVE_NCCL)),-DSKY_NCCL)
else
KERNELS := $(BUILD)/kernels/none.c.o
HAVE_NCCL := no
endif
ifeq ($(NCCL)$(HAVE_NCCL),yesno)
$(error NCCL=yes, but there is no nccl.h beside CUDA, or no CUDA)
endif
CXX := $(shell command -v $(CXX) 2>/dev/null)

# Files that use an instruction set beyond the baseline carry it in their names and are entered only after CPUID.
$(BUILD)/%.avx2.c.o:   override CFLAGS += -mavx2 -mfma
$(BUILD)/%.avx512.c.o: override CFLAGS += -march=x86-64-v4 -mprefer-vector-width=512
$(BUILD)/%.bf16.c.o:   override CFLAGS += -march=x86-64-v4 -mavx512bf16 -mprefer-vector-width=512
# 64-byte vectors are arguments of inlined functions only; gcc notes that their calling convention once changed.
$(BUILD)/libsky/cpu/row_kernels%.o: override CFLAGS += -Wno-psabi
$(BUILD)/libsky/geo/%.c.o $(BUILD)/tests/bench/geo_%.c.o: CPPFLAGS += $(GDAL_CFLAGS)

LIB_SRC   := $(sort $(wildcard $(foreach d,base format tensor cpu nn train data score fit,libsky/$(d)/*.c)))
GEO_SRC   := $(sort $(wildcard libsky/geo/*.c libsky/ingest/*.c))
TEST_SRC  := $(sort $(wildcard tests/unit/*.c tests/tools/*.c tests/golden.c tests/bench/*.c))
# Tests and tools under these names link the geographic library too.
GEO_TESTS := $(patsubst %.c,%,$(notdir $(wildcard tests/unit/geo_*.c)))
GEO_BENCH := $(patsubst %.c,%,$(notdir $(wildcard tests/bench/geo_*.c)))
CLI_TESTS := $(sort $(wildcard tests/cli/*.t))
CONFIGS   := $(sort $(wildcard pipelines/*.yaml))
# GDAL and its drivers keep global state until exit: not ours to free.
ASAN_ENV  := LSAN_OPTIONS=suppressions=tests/lsan.supp:print_suppressions=0 ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
LIB   := $(BUILD)/libsky.a
GEO   := $(BUILD)/libskygeo.a
BIN   := $(TOOLS:%=$(BUILD)/bin/%)
SHARE := $(BUILD)/share/skysense/datasets $(BUILD)/share/skysense/configs
UNIT  := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*.c))
FUZZ  := $(patsubst tests/fuzz/%.c,%,$(filter-out tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c)))
TESTS := $(patsubst %.c,$(BUILD)/tests/%,$(notdir $(TEST_SRC))) $(FUZZ:%=$(BUILD)/tests/fuzz_%)
ifeq ($(NEED_GEO),)
TESTS := $(filter-out $(GEO_TESTS:%=$(BUILD)/tests/%) $(GEO_BENCH:%=$(BUILD)/tests/%),$(TESTS))
UNIT  := $(filter-out $(GEO_TESTS:%=$(BUILD)/tests/%),$(UNIT))
endif

FLAGS := $(CC) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS) $(GDAL_CFLAGS) $(MPI_CFLAGS) $(STATIC) $(HAVE_CUDA) $(HAVE_NCCL) $(NVCC) $(NVFLAGS)
ifneq ($(FLAGS),$(file <$(BUILD)/flags))
$(shell mkdir -p $(BUILD))$(file >$(BUILD)/flags,$(FLAGS))
endif
ifneq ($(PREFIX),$(file <$(BUILD)/prefix))
$(shell mkdir -p $(BUILD))$(file >$(BUILD)/prefix,$(PREFIX))
endif

all: $(BIN) $(SHARE) ## build the tools into build/bin

# The tools find descriptors and configurations beside their own folder, as in PREFIX, wherever BUILD is.
$(BUILD)/share/skysense/datasets: LINK := $(CURDIR)/formats/datasets
$(BUILD)/share/skysense/configs:  LINK := $(CURDIR)/pipelines
$(SHARE):
	@mkdir -p $(@D)
	@ln -sfn '$(LINK)' $@

# The one file that knows PREFIX: make install PREFIX=... compiles no other again.
$(BUILD)/libsky/base/paths.c.o: CPPFLAGS += -DSKY_PREFIX='"$(PREFIX)"'
$(BUILD)/libsky/base/paths.c.o: $(BUILD)/prefix

$(BUILD)/%.c.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# A compiler cache in front of CC is used here too.
$(BUILD)/%.cu.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	$(filter ccache,$(firstword $(CC))) $(NVCC) $(NVFLAGS) -Ilibsky -Ikernels -DSKY_CUDA_MAJOR='"$(CUDA_MAJOR)"' -MMD -MP -c -o $@ $<

$(LIB): $(LIB_SRC:%=$(BUILD)/%.o) $(KERNELS)
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

$(GEO_BENCH:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/bench/%.c.o
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GDAL_LIBS) $(LIBS)
$(GEO_TESTS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.c.o $(GEO) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(GDAL_LIBS) $(LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/unit/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/%: $(BUILD)/tests/tools/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
# The yardstick of one benchmark, where it is installed (oneDNN 2: version 3 has another interface).
ifneq ($(shell grep -s 'DNNL_VERSION_MAJOR 2' /usr/include/oneapi/dnnl/dnnl_version.h),)
$(BUILD)/tests/bench/bench_gemm.c.o: CPPFLAGS += -DSKY_BENCH_DNNL
$(BUILD)/tests/bench_gemm: LIBS += -ldnnl -lgomp
endif
$(BUILD)/tests/%: $(BUILD)/tests/bench/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/golden: $(BUILD)/tests/golden.c.o $(patsubst %.c,$(BUILD)/%.c.o,$(wildcard tests/replay/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz/%.c.o $(BUILD)/tests/fuzz/replay.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# The operations of a device against the CPU's, and the same with the kernels run on the CPU (tests/emulate/cuda_emu.h).
EMULATED := $(CU_SRC:%=$(BUILD)/emulate/%.o) $(patsubst %,$(BUILD)/emulate/tests/emulate/%.cpp.o,cuda_emu streams blas nccl)
$(BUILD)/emulate/tests/emulate/nccl.cpp.o: EMULATE_FLAGS := $(MPI_CFLAGS)
# As on the machine multiply-adds are fused, and reading what is not aligned ends the program.
EMULATE := -ffp-contract=fast $(if $(shell grep -swm1 fma /proc/cpuinfo),-mfma) -fsanitize=alignment -fsanitize-undefined-trap-on-error
$(BUILD)/emulate/%.o: % $(BUILD)/flags
	@mkdir -p $(@D)
	$(CXX) -x c++ -std=c++17 -O2 -g -Wall -Wextra -Wno-unused-function -Wno-unknown-pragmas -fno-threadsafe-statics $(SAN) $(EMULATE) -DSKY_EMULATE -DSKY_NCCL \
	  $(EMULATE_FLAGS) -Ilibsky -Ikernels -Itests -MMD -MP -c -o $@ $<
$(BUILD)/tests/device_ops: $(patsubst %.c,$(BUILD)/%.c.o,$(wildcard tests/device/*.c)) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(BUILD)/tests/emulated_ops: $(patsubst %.c,$(BUILD)/%.c.o,$(wildcard tests/device/*.c)) $(EMULATED) $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(SAN) -pthread -o $@ $^ $(LIBS)
$(BUILD)/tests/emulated_golden: $(BUILD)/tests/golden.c.o $(patsubst %.c,$(BUILD)/%.c.o,$(wildcard tests/replay/*.c)) $(EMULATED) $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(SAN) -pthread -o $@ $^ $(LIBS)
$(BUILD)/tests/emulated_ring: $(BUILD)/tests/tools/comm_ring.c.o $(EMULATED) $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(SAN) -pthread -o $@ $^ $(LIBS)
$(BUILD)/tests/emulated_infer $(BUILD)/tests/emulated_train: $(BUILD)/tests/emulated_%: $(BUILD)/cmd/sky-%.c.o $(EMULATED) $(LIB)
	@mkdir -p $(@D)
	$(CXX) $(SAN) -pthread -o $@ $^ $(LIBS)
# kernels/blas.cu and nccl.cu look up cuBLASLt's and NCCL's functions by their names.
$(BUILD)/tests/emulated_%: LIBS += -rdynamic
DEVICE_TESTS := $(BUILD)/tests/device_ops $(if $(CXX),$(patsubst %,$(BUILD)/tests/emulated_%,ops golden ring infer train))

tests: all $(TESTS) $(DEVICE_TESTS) ## build the test programs into build/tests

setup: ## install missing packages, or say which ones are missing
	@sh pipelines/setup.sh

# The set-up may install what the variables above look for, so the rest runs in a make of its own.
check: setup ## the README's test command: set up, build, run every test
	@$(MAKE) --no-print-directory check-built

check-built: tests
	@BUILD=$(BUILD) prove -j $(JOBS) $(UNIT) $(filter %_ops,$(DEVICE_TESTS)) $(FUZZ:%=$(BUILD)/tests/fuzz_%) $(CLI_TESTS)

check-long: setup ## the same with the full forms of long tests
	@SKY_LONG=1 $(MAKE) --no-print-directory check-built

check-slurm: setup ## the job scripts under a Slurm started for it (root, packages munge and slurm-wlm)
	@$(MAKE) --no-print-directory all $(BUILD)/tests/comm_ring
	@BUILD=$(BUILD) prove tests/slurm.sh

demo: setup ## real imagery from files to scores and pictures, with a training on the way, in out/toulouse
	@$(MAKE) --no-print-directory all $(BUILD)/tests/class_means
	@$(MAKE) --no-print-directory -f pipelines/toulouse.mk BUILD=$(BUILD)

# Without the emulated kernels: their switching of stacks takes the sanitizer half an hour.
asan: setup ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(ASAN_ENV) $(MAKE) --no-print-directory BUILD=build-asan CUDA=no DEVICE_TESTS=build-asan/tests/device_ops check-built \
	  SAN='-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer'

fuzz: setup ## run every fuzz target for FUZZ_SECONDS under libFuzzer (clang)
	@$(MAKE) --no-print-directory BUILD=build-fuzz CC=clang SAN='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined' fuzz-built
fuzz-built: $(FUZZ:%=$(BUILD)/tests/libfuzzer_%)
	@for f in $(FUZZ); do mkdir -p $(BUILD)/corpus/$$f; echo "== $$f"; \
	  $(ASAN_ENV) $(BUILD)/tests/libfuzzer_$$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=3000 -timeout=20 -print_final_stats=1 \
	    -artifact_prefix=$(BUILD)/corpus/$$f- $(BUILD)/corpus/$$f tests/fuzz/corpus/$$f 2>&1 | tail -8 || exit 1; done
$(BUILD)/tests/libfuzzer_%: $(BUILD)/tests/fuzz/%.c.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

bench: setup ## every benchmark beside its yardstick (tests/bench/all.sh says which variables it takes)
	@$(MAKE) --no-print-directory tests
	@BUILD=$(BUILD) tests/bench/all.sh

cuda-report: ## registers, spills, shared memory and occupancy of every kernel (sm_90)
	@for f in $(CU_SRC); do $(NVCC) -O3 -std=c++17 --extended-lambda -arch=sm_90 -Xptxas -v -Ilibsky -Ikernels -DSKY_CUDA_MAJOR='"0"' -c -o /dev/null $$f 2>&1; done | \
	  python3 tests/device/resources.py 90

gpu-check: ## everything that wants a real GPU, in one run with a report (DEVICE=cpu: rehearse it)
	@BUILD=$(BUILD) tests/device/gpu-check.sh

# Sources, the static libraries and their headers, golden files, and programs for a machine without nvcc. On that machine:
# tar xf, make gpu-check.
PACKAGE := skysense-gpu
PREBUILT := $(patsubst %,$(BUILD)/static/tests/%,device_ops golden bench_model bench_device make-samples) $(patsubst %,$(BUILD)/static/bin/%,sky-infer sky-train)
VENDOR  := zstd yaml jansson minizip png png16 z
gpu-package: ## build/skysense-gpu.tar.gz: gpu-check for a machine without package manager and network
	@rm -rf $(BUILD)/$(PACKAGE) && mkdir -p $(addprefix $(BUILD)/$(PACKAGE)/,vendor/include vendor/lib prebuilt shared)
	@git archive HEAD | tar x -C $(BUILD)/$(PACKAGE) && git rev-parse --short HEAD >$(BUILD)/$(PACKAGE)/COMMIT
	@$(MAKE) --no-print-directory -s BUILD=$(BUILD)/static STATIC=1 TOOLS="sky-infer sky-train" $(PREBUILT)
	@cp $(PREBUILT) $(BUILD)/$(PACKAGE)/prebuilt
	@for l in $(VENDOR); do f=$$($(CC) -print-file-name=lib$$l.a); [ ! -f "$$f" ] || cp -L "$$f" $(BUILD)/$(PACKAGE)/vendor/lib; done
	@for h in zstd.h zstd_errors.h yaml.h jansson.h jansson_config.h png.h pngconf.h pnglibconf.h zlib.h zconf.h minizip; do \
	  for d in /usr/include /usr/include/$$($(CC) -print-multiarch); do [ ! -e $$d/$$h ] || cp -rL $$d/$$h $(BUILD)/$(PACKAGE)/vendor/include; done; done
	@printf 'CPPFLAGS += -Ivendor/include\nLDFLAGS += -Lvendor/lib\nSTATIC = 1\nTOOLS = sky-pack sky-train sky-infer sky-score\n' >$(BUILD)/$(PACKAGE)/config.mk
	@if [ -d ../shared/golden ]; then cp -r ../shared/golden ../shared/reference $(BUILD)/$(PACKAGE)/shared; fi
	@tar czf $(BUILD)/$(PACKAGE).tar.gz -C $(BUILD) $(PACKAGE) && ls -l $(BUILD)/$(PACKAGE).tar.gz

# Quoted: a PREFIX with a space is one folder, not two.
DEST = '$(DESTDIR)$(PREFIX)'
install: all ## install tools, man pages, datasets and configurations under PREFIX
	install -d $(DEST)/bin $(DEST)/share/man/man1 $(DEST)/share/man/man5 $(DEST)/share/skysense/datasets $(DEST)/share/skysense/configs
	install -m 755 $(BIN) $(DEST)/bin
	install -m 644 $(wildcard man/*.1) $(DEST)/share/man/man1
	install -m 644 $(wildcard man/*.5) $(DEST)/share/man/man5
	install -m 644 $(wildcard formats/datasets/*.yaml) $(DEST)/share/skysense/datasets
	install -m 644 $(CONFIGS) $(DEST)/share/skysense/configs

uninstall: ## remove what install put there
	cd $(DEST) && rm -f $(TOOLS:%=bin/%) $(patsubst man/%.1,share/man/man1/%.1,$(wildcard man/*.1)) \
	  $(patsubst man/%.5,share/man/man5/%.5,$(wildcard man/*.5))
	rm -rf $(DEST)/share/skysense

clean: ## remove build/
	rm -rf $(BUILD) build-asan build-fuzz out

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST)

print-config: ## show what was found
	@echo 'CC=$(CC)  CFLAGS=$(CFLAGS)'; echo 'GDAL=$(if $(GDAL_LIBS),yes,no)  TOOLS=$(TOOLS)  STATIC=$(STATIC)  MPI=$(if $(MPI_CFLAGS),$(or $(MPI_TEXT),yes),no)'
	@echo 'CUDA=$(HAVE_CUDA)  NVCC=$(NVCC)  CUDA_ARCHS=$(CUDA_ARCHS)  NCCL=$(HAVE_NCCL)  CXX=$(CXX) (tests of the kernels without a GPU)'

.PHONY: all tests setup demo check check-built check-long check-slurm cuda-report gpu-check gpu-package bench asan fuzz fuzz-built install uninstall clean help print-config
.SECONDARY:
%.d: ;
Makefile: ;
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
