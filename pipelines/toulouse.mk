# toulouse.mk -- the demo: real QuickBird scenes from files to score and picture.
#
#   make -f pipelines/toulouse.mk            (make demo runs it)
#
# The weights are generated, because no trained small model exists yet: the pipeline is real, the scores are chance.
OUT     ?= out/toulouse
BUILD   ?= build
BIN     := $(BUILD)/bin
DATA    ?= examples/toulouse
CONFIG  ?= tiny
# Generated weights answer with few of the class slots; with this seed the picture is not all black.
SEED    ?= 3
SHELL   := bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:

all: $(OUT)/score.txt $(OUT)/picture.png ## everything
	@cat $(OUT)/score.txt
	@echo
	@echo "NOTE: the model's weights are generated, not trained, so these scores are chance. What is real: the imagery,"
	@echo "the labels, the georeference, and every step from the files to the table."
	@echo "Picture (input, label, prediction side by side): $(OUT)/picture.png"

$(OUT)/tiles.sky: $(wildcard $(DATA)/*)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset toulouse $(DATA) | $(BIN)/sky-tile --size 256 --drop-empty | $(BIN)/sky-pack -o $@

$(OUT)/weights.safetensors:
	@mkdir -p $(@D)
	$(BUILD)/tests/seed-weights --config $(CONFIG) -o $@

$(OUT)/prompts.tsv: $(OUT)/tiles.sky
	$(BIN)/sky-infer --make-prompts $(SEED) $< > $@

$(OUT)/pred.sky: $(OUT)/prompts.tsv $(OUT)/weights.safetensors
	$(BIN)/sky-infer -m $(OUT)/weights.safetensors --size 256 --prompts $< --seed $(SEED) $(OUT)/tiles.sky | $(BIN)/sky-pack -o $@

$(OUT)/score.txt $(OUT)/picture.png &: $(OUT)/pred.sky
	$(BIN)/sky-score --labels $(OUT)/tiles.sky --prompts $(OUT)/prompts.tsv --picture $(OUT)/picture.png $< > $(OUT)/score.txt

clean: ## remove OUT
	rm -rf $(OUT)

.PHONY: all clean
