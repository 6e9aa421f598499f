# finetune.mk -- a segmentation data set from the download to a fine-tuned network.
#
#   make -f pipelines/finetune.mk SET=atlantic DATA=/data/atlantic WEIGHTS=skysensepp_release.ckpt
#
# SET is atlantic, sos, c2smsfloods, cabuar or germany: a descriptor formats/datasets/SET.yaml and a run pipelines/SET.yaml
# (sky-dataset(5), sky-run(5)). DATA is the folder of the download (atlantic, sos) or of the original's lists, rs_datasets
# (the others; LIST_train and LIST_val name the lists). `shards` stops before the training.
SET     ?= atlantic
DATA    ?= $(SET)
WEIGHTS ?= skysensepp_release.ckpt
OUT     ?= out/$(SET)
BIN     ?= build/bin
# How to start the training: "mpirun -n 8", "srun" ...
LAUNCH  ?=
TRAIN   ?=
SHELL   := bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:

LISTED     := c2smsfloods cabuar germany
LIST_train ?= $(DATA)/$(SET)/$(SET)_train.json
LIST_val   ?= $(DATA)/$(SET)/$(SET)_val.json
source      = $(if $(filter $(SET),$(LISTED)),--root $(DATA) $(LIST_$*),--split $* $(DATA))

all: $(OUT)/run/last.safetensors ## shards, then training
shards: $(OUT)/shards/train-0.sky $(OUT)/shards/val-0.sky ## the samples of both splits

$(OUT)/shards/%-0.sky: $(DATA)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset $(SET) $(source) | $(BIN)/sky-pack -o $@

# The run names its shards and the weights from where it is started. It goes on where it was stopped.
$(OUT)/run/last.safetensors: $(OUT)/shards/train-0.sky $(OUT)/shards/val-0.sky pipelines/$(SET).yaml
	ln -sfn $(abspath $(WEIGHTS)) $(OUT)/skysensepp_release.ckpt
	cd $(OUT) && $(LAUNCH) $(abspath $(BIN))/sky-train --out run --resume latest $(TRAIN) $(abspath pipelines/$(SET).yaml)

clean: ## remove OUT
	rm -rf $(OUT)

.PHONY: all shards clean
.SECONDARY:
