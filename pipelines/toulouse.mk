# toulouse.mk -- the demo: real QuickBird scenes from files to score and picture.
#
#   make -f pipelines/toulouse.mk            (make demo runs it)
#
# 1. One-shot: nano (examples/nano, pretrained on QB_1 and QB_2 without the polygons) is shown QB_1 with its polygons and
#    segments QB_3.
# 2. Fine-tuning: sky-train learns from the polygons of QB_1, keeps what is best on QB_2, and is scored on QB_3.
# Beside them stands what the means of the classes in QB_1 give (tests/tools/class_means.c), a baseline any network should beat.
OUT     ?= out/toulouse
BUILD   ?= build
BIN     := $(BUILD)/bin
DATA    ?= examples/toulouse
NANO    ?= examples/nano/nano.safetensors
SHELL   := bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:

all: $(OUT)/score.txt $(OUT)/picture.png $(OUT)/baseline.txt $(OUT)/tuned.txt ## everything
	@echo "1. QB_3 from one example, QB_1 with its polygons, by nano:"
	@cat $(OUT)/score.txt
	@echo
	@echo "2. QB_3 by a network that sky-train trained on QB_1 just now, chosen on QB_2:"
	@cat $(OUT)/tuned.txt
	@echo
	@echo "3. QB_3 by the nearest mean of the classes in QB_1, the baseline:"
	@cat $(OUT)/baseline.txt
	@echo
	@mean() { awk '$$1 == "mean" { print $$2; exit }' "$$1"; }; \
	echo "Mean IoU on QB_3: one example $$(mean $(OUT)/score.txt), fine-tuned $$(mean $(OUT)/tuned.txt), baseline $$(mean $(OUT)/baseline.txt)."
	@echo "One scene of four polygons does not say which is better: examples/toulouse/README.md."
	@echo "Pictures (input, label, prediction side by side): $(OUT)/picture.png (one example), $(OUT)/tuned.png (fine-tuned)"

$(OUT)/scenes.sky: $(wildcard $(DATA)/*)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset toulouse $(DATA) | $(BIN)/sky-pack -o $@

$(OUT)/prompts.tsv:
	@mkdir -p $(@D)
	printf 'QB_3\tQB_1\t*\n' > $@

$(OUT)/pred.sky: $(OUT)/prompts.tsv $(OUT)/scenes.sky $(NANO)
	$(BIN)/sky-infer -m $(NANO) --size 384 --slots 4 --prompts $< $(OUT)/scenes.sky | $(BIN)/sky-pack -o $@

$(OUT)/score.txt $(OUT)/picture.png &: $(OUT)/pred.sky $(OUT)/test.sky
	$(BIN)/sky-score --labels $(OUT)/test.sky --picture $(OUT)/picture.png $< > $(OUT)/score.txt

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
