# pretrain.mk -- pretraining: from lists or downloads of labelled pictures to a pretrained one-shot model.
#
#   make -f pipelines/pretrain.mk DATA="train.json" ROOT=/data WEIGHTS=skysense.safetensors     the published run
#   make -f pipelines/pretrain.mk RUN=pretrain-small DATASET=toulouse DATA=examples/toulouse    from nothing, on a CPU
#
# RUN is pretrain or pretrain-small: a run pipelines/RUN.yaml (sky-run(5)). DATASET is a descriptor of sky-dataset(5); by
# default the original's own lists, whose paths count from ROOT. VAL, if given, is validated with. Scenes larger than
# twice TILE are cut. `shards` stops before the training; further variables are in train.mk.
#
# Several machines can share the first step: `shards PART=i/n` makes the i-th of n parts. When all are there, SHARDS= goes on to
# the training, which reads them all.
RUN     ?= pretrain
DATASET ?= skysensepp-list
DATA    ?= train.json
VAL     ?=
ROOT    ?=
TILE    ?= 1024
PART    ?=
WEIGHTS ?= skysense.safetensors
part    := $(subst /,of,$(PART:%=%-))
SHARDS  := train-$(part)00000.sky $(if $(VAL),val-$(part)00000.sky)
include pipelines/train.mk

$(OUT)/shards/train-$(part)00000.sky: $(DATA)
$(OUT)/shards/val-$(part)00000.sky: $(VAL)
$(OUT)/shards/%-00000.sky:
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset $(DATASET) $(ROOT:%=--root %) $(PART:%=--part %) $^ | $(BIN)/sky-tile --size $(TILE) --drop-empty | $(BIN)/sky-pack --shard-size 1G -o $(OUT)/shards/$*-%05d.sky
