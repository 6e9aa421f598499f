# finetune.mk -- a segmentation data set from the download to a fine-tuned network.
#
#   make -f pipelines/finetune.mk SET=atlantic DATA=/data/atlantic WEIGHTS=skysensepp_release.ckpt
#
# SET is atlantic, sos, c2smsfloods, cabuar or germany: a descriptor formats/datasets/SET.yaml and a run pipelines/SET.yaml
# (sky-dataset(5), sky-run(5)). DATA is the folder of the download (atlantic, sos) or of the original's lists, rs_datasets
# (the others; LIST_train and LIST_val name the lists; germany-npz.py makes those of germany from its download). `shards`
# stops before the training; further variables are in train.mk.
SET     ?= atlantic
DATA    ?= $(SET)
WEIGHTS ?= skysensepp_release.ckpt
RUN     := $(SET)
SHARDS  := train-0.sky val-0.sky
include pipelines/train.mk

LISTED     := c2smsfloods cabuar germany
LIST_train ?= $(DATA)/$(SET)/$(SET)_train.json
LIST_val   ?= $(DATA)/$(SET)/$(SET)_val.json
source      = $(if $(filter $(SET),$(LISTED)),--root $(DATA) $(LIST_$*),--split $* $(DATA))

$(OUT)/shards/%-0.sky: $(DATA)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset $(SET) $(source) | $(BIN)/sky-pack -o $@
