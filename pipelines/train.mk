# train.mk -- what recipes that end in a training share: from the shards to the trained weights. A recipe sets
#
#   RUN     a run, pipelines/RUN.yaml (sky-run(5)); it names its shards as shards/..., and what it begins with by file name
#   SHARDS  names of the shards, or of the first of several, for which it has a rule: $(OUT)/shards/NAME
#   WEIGHTS the file to begin with, where the run begins with one
#
# and includes this file before its rules. `shards` stops before the training.
ifndef RUN
$(error train.mk is a part of other recipes: make -f pipelines/pretrain.mk, or pipelines/finetune.mk)
endif
OUT    ?= out/$(RUN)
BIN    ?= build/bin
# How to start the training ("mpirun -n 8", "srun" ...), and further options for it.
LAUNCH ?=
TRAIN  ?=
SHELL  := bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:

shards := $(SHARDS:%=$(OUT)/shards/%)
start  := $(shell awk '/^[a-z]/ { here = /^start:/ } here && match($$0, /from: *[^ ,}\#]+/) { print substr($$0, RSTART + 5, RLENGTH - 5) }' pipelines/$(RUN).yaml)
begin  := $(start:%=$(OUT)/%)

# What it begins with first: that this is not there should not be said after hours of reading.
all: $(begin) $(OUT)/run/last.safetensors ## shards, then training
shards: $(shards) ## the samples

ifneq ($(begin),)
$(begin): | $(WEIGHTS)
	@mkdir -p $(@D)
	ln -sfn $(abspath $(WEIGHTS)) $@
endif

# The run names its files from where it is started. It goes on where it was stopped.
$(OUT)/run/last.safetensors: $(shards) pipelines/$(RUN).yaml | $(begin)
	cd $(OUT) && $(LAUNCH) $(abspath $(BIN))/sky-train --out run --resume latest $(TRAIN) $(abspath pipelines/$(RUN).yaml)

$(sort $(DATA) $(VAL) $(WEIGHTS)): # asked for only where it is not there
	+@echo "$(RUN): $@ is not there: DATA=... names the data set, WEIGHTS=FILE what the training begins with" >&2; exit 1

clean: ## remove OUT
	rm -rf $(OUT)

.PHONY: all shards clean
.SECONDARY:
