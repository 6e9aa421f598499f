# toulouse.mk -- the demo: real QuickBird scenes from files to score and picture.
#
#   make -f pipelines/toulouse.mk            (make demo runs it)
#
# 1. One-shot, whole path: the weights are generated, because no trained small model is good enough; the scores are chance.
# 2. Fine-tuning: sky-train learns from the polygons of QB_1, keeps what is best on QB_2, and is scored on QB_3. Beside it
#    stands what the means of the classes in QB_1 give (tests/tools/class_means.c), a baseline any network should beat.
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

all: $(OUT)/score.txt $(OUT)/picture.png $(OUT)/baseline.txt $(OUT)/tuned.txt ## everything
	@echo "1. One-shot, generated weights: chance. What is real is every step from the files to the table."
	@cat $(OUT)/score.txt
	@echo
	@echo "2. QB_3 by the nearest mean of the classes in QB_1, the baseline:"
	@cat $(OUT)/baseline.txt
	@echo
	@echo "3. QB_3 by a network that sky-train trained on QB_1 just now, chosen on QB_2:"
	@cat $(OUT)/tuned.txt
	@echo
	@mean() { awk '$$1 == "mean" { print $$2; exit }' "$$1"; }; \
	awk -v n="$$(mean $(OUT)/tuned.txt)" -v b="$$(mean $(OUT)/baseline.txt)" 'BEGIN { \
	    printf "Mean IoU on QB_3: network %s, baseline %s. The network %s the baseline.\n", n, b, (n + 0 > b + 0) ? "beats" : "does not beat" }'
	@echo "One scene of four polygons does not say which is better: on QB_2 the baseline is far ahead (examples/toulouse/README.md)."
	@echo "Pictures (input, label, prediction side by side): $(OUT)/picture.png (one-shot), $(OUT)/tuned.png (network)"

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

$(OUT)/train.sky: $(wildcard $(DATA)/*)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset toulouse --split train $(DATA) | $(BIN)/sky-tile --size 128 --stride 64 --drop-empty | $(BIN)/sky-pack -o $@

$(OUT)/val.sky $(OUT)/test.sky: $(OUT)/%.sky: $(wildcard $(DATA)/*)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset toulouse --split $* $(DATA) | $(BIN)/sky-pack -o $@

$(OUT)/scene1.sky: $(wildcard $(DATA)/*)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset toulouse --split train $(DATA) | $(BIN)/sky-pack -o $@

$(OUT)/baseline.txt: $(OUT)/scene1.sky $(OUT)/test.sky
	$(BUILD)/tests/class_means --from QB_1 $^ | $(BIN)/sky-score --labels $(OUT)/test.sky > $@

# The run names its shards from where it is started. It goes on where it was stopped.
$(OUT)/run/best.safetensors: $(OUT)/train.sky $(OUT)/val.sky pipelines/toulouse.yaml
	cd $(OUT) && $(abspath $(BIN))/sky-train --out run --resume latest $(abspath pipelines/toulouse.yaml)

$(OUT)/tuned.txt $(OUT)/tuned.png &: $(OUT)/run/best.safetensors $(OUT)/test.sky
	$(BIN)/sky-infer -m $< $(OUT)/test.sky | $(BIN)/sky-score --labels $(OUT)/test.sky --picture $(OUT)/tuned.png > $(OUT)/tuned.txt

clean: ## remove OUT
	rm -rf $(OUT)

.PHONY: all clean
