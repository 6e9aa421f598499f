# nano.mk -- the model of examples/nano: pretrained on QB_1 and QB_2 of examples/toulouse, never on QB_3, and its one-shot scores.
#
#   make -f pipelines/nano.mk                (about half an hour on two cores)
#
# Label maps are made of the pictures themselves (nano/classes.py), since three scenes of four polygons teach nothing. The
# polygons are used to look at the result only: QB_2, prompted with QB_1, before and QB_3 after all is decided.
OUT    ?= out/nano
BIN    ?= build/bin
DATA   ?= examples/toulouse
PYTHON ?= python3
TRAIN  ?=
SHELL  := bash
.SHELLFLAGS := -o pipefail -ec
.DELETE_ON_ERROR:

all: $(OUT)/score-QB_2.txt $(OUT)/score-QB_3.txt ## label maps, shards, training, one-shot scores
	@cat $^

$(OUT)/scenes.sky: $(wildcard $(DATA)/*)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset toulouse $(DATA) | $(BIN)/sky-pack -o $@

$(OUT)/maps.done: $(OUT)/scenes.sky pipelines/nano/classes.py
	$(BIN)/sky-pack --extract npz -C $(OUT)/npz $<
	$(PYTHON) pipelines/nano/classes.py $(DATA)/NAME_ortho.tif $(OUT)/maps $(OUT)/npz/QB_1.npz $(OUT)/npz/QB_2.npz
	touch $@

$(OUT)/train.sky: $(OUT)/maps.done pipelines/nano/classes.yaml
	$(BIN)/sky-ingest --dataset pipelines/nano/classes.yaml $(OUT)/maps | $(BIN)/sky-tile --size 256 --stride 128 | $(BIN)/sky-pack -o $@

# The runs name their files from where they are started. They go on where they were stopped.
RUN = cd $(OUT) && $(abspath $(BIN))/sky-train --resume latest $(TRAIN)

$(OUT)/dense/last.safetensors: $(OUT)/train.sky pipelines/nano/dense.yaml
	$(RUN) --out dense $(abspath pipelines/nano/dense.yaml)

$(OUT)/run/last.safetensors: $(OUT)/dense/last.safetensors pipelines/nano/sparse.yaml
	$(RUN) --out run $(abspath pipelines/nano/sparse.yaml)

$(OUT)/pred-%.sky: $(OUT)/run/last.safetensors $(OUT)/scenes.sky
	printf '$*\tQB_1\t*\n' > $(OUT)/prompt-$*.tsv
	$(BIN)/sky-infer -m $< --size 384 --slots 4 --prompts $(OUT)/prompt-$*.tsv $(OUT)/scenes.sky | $(BIN)/sky-pack -o $@

$(OUT)/labels-QB_2.sky: SPLIT = val
$(OUT)/labels-QB_3.sky: SPLIT = test
$(OUT)/labels-%.sky: $(wildcard $(DATA)/*)
	@mkdir -p $(@D)
	$(BIN)/sky-ingest --dataset toulouse --split $(SPLIT) $(DATA) | $(BIN)/sky-pack -o $@

$(OUT)/score-%.txt: $(OUT)/pred-%.sky $(OUT)/labels-%.sky
	$(BIN)/sky-score --labels $(OUT)/labels-$*.sky --picture $(OUT)/$*.png $< > $@

clean: ## remove OUT
	rm -rf $(OUT)

.PHONY: all clean
.SECONDARY:
