# pretrain.mk -- pretraining: from lists or downloads of labelled pictures to a pretrained one-shot model.
#
#   make -f pipelines/pretrain.mk DATA="train.json" ROOT=/data WEIGHTS=skysense.safetensors     the published run
#   make -f pipelines/pretrain.mk RUN=pretrain-small DATASET=toulouse DATA=examples/toulouse    from nothing, on a CPU
#
# RUN is pretrain or pretrain-small: a run pipelines/RUN.yaml (sky-run(5)). DATASET is a descriptor of sky-dataset(5); by
# default the original's own lists, whose paths count from ROOT. VAL, if given, is validated with. Scenes larger than
# twice TILE are cut; PART=i/n ingests one part of n, so that several machines can share the work. `shards` stops before
# the training.
RUN     ?= pretrain
DATASET ?= skysensepp-list
DATA    ?= train.json
VAL     ?=
ROOT    ?=
TILE    ?= 1024
WEIGHTS ?= skysense.safetensors
OUT     ?= out/$(RUN)
BIN     ?= build/bin
# How to start the training: "mpirun -n 8", "srun" ...
LAUNCH  ?=
TRAIN   ?=
SHELL   := bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:

SHARDS := $(OUT)/shards/train-00000.sky $(if $(VAL),$(OUT)/shards/val-00000.sky)
root   := $(if $(ROOT),--root $(ROOT))

all: $(OUT)/run/last.safetensors ## shards, then training
shards: $(SHARDS) ## the samples

$(OUT)/shards/train-00000.sky: $(DATA)
$(OUT)/shards/val-00000.sky: $(VAL)
$(OUT)/shards/%-00000.sky:
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset $(DATASET) $(root) $^ | $(BIN)/sky-tile --size $(TILE) --drop-empty | $(BIN)/sky-pack --shard-size 1G -o $(OUT)/shards/$*-%05d.sky

# The run names its shards and the weights from where it is started. It goes on where it was stopped.
$(OUT)/run/last.safetensors: $(SHARDS) pipelines/$(RUN).yaml
	ln -sfn $(abspath $(WEIGHTS)) $(OUT)/skysense.safetensors
	cd $(OUT) && $(LAUNCH) $(abspath $(BIN))/sky-train --out run --resume latest $(TRAIN) $(abspath pipelines/$(RUN).yaml)

clean: ## remove OUT
	rm -rf $(OUT)

.PHONY: all shards clean
.SECONDARY:
