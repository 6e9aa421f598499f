# flood3i.mk -- the Flood-3i one-shot benchmark from the download to the score.
#
#   make -f pipelines/flood3i.mk DATA=/data/flood3i WEIGHTS=skysensepp_release.ckpt
#
# DATA is the folder that holds Images/ and Semantic_mask/ (or their zips) and val.txt. Every step leaves one file in OUT
# and is repeated only when what it was made from has changed.
DATA    ?= flood3i
WEIGHTS ?= skysensepp_release.ckpt
CONFIG  ?= full
OUT     ?= out/flood3i
BIN     ?= build/bin
DTYPE   ?= bf16
SEED    ?= 1
# Side of each picture on the canvas; the released model was made for 512.
SIZE    ?= 512
SHELL   := bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:

all: $(OUT)/score.txt ## everything; the table is shown at the end
	@cat $<

$(OUT)/val.sky: $(DATA)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset flood3i --split val $(DATA) | $(BIN)/sky-pack -o $@

$(OUT)/prompts.tsv: $(OUT)/val.sky
	$(BIN)/sky-infer --make-prompts $(SEED) $< > $@

# The weights first: that they are not there should not be said after hours of reading.
$(OUT)/pred.sky: $(WEIGHTS) $(OUT)/prompts.tsv $(OUT)/val.sky
	$(BIN)/sky-infer -m $< --config $(CONFIG) --dtype $(DTYPE) --size $(SIZE) --seed $(SEED) --prompts $(OUT)/prompts.tsv $(OUT)/val.sky | $(BIN)/sky-pack -o $@

$(OUT)/score.txt: $(OUT)/pred.sky
	$(BIN)/sky-score --labels $(OUT)/val.sky --prompts $(OUT)/prompts.tsv $< > $@
	$(BIN)/sky-score --labels $(OUT)/val.sky --prompts $(OUT)/prompts.tsv --json $< > $(OUT)/score.json

$(DATA) $(WEIGHTS): # asked for only where it is not there
	+@echo "flood3i.mk: $@ is not there: DATA=FOLDER names the download, WEIGHTS=FILE the weights" >&2; exit 1

clean: ## remove OUT
	rm -rf $(OUT)

.PHONY: all clean
