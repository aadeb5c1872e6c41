# make setup | demo | demo-seed | full | retrieved | study | test | lint | readme | docs | leaderboard | recompute | app | test-app | clean
PYTHON ?= python3.11
VENV   := .venv
PY     := $(VENV)/bin/python
BRICKS := lavis/projects/bricks
# Nothing in the default path comes from a hub; a run that should use one unsets this.
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo demo-seed full retrieved study test lint readme docs leaderboard recompute app test-app clean

setup: $(VENV)/.installed $(VENV)/.linked

# From any folder, `import lavis` finds this checkout before salesforce-lavis.
$(VENV)/.linked: $(VENV)/.installed lavis/_link.py
	$(PY) lavis/_link.py
	touch $@

# Two steps: LAVIS' own pins and a modern transformers cannot be resolved together.
$(VENV)/.installed: requirements.txt requirements-nodeps.txt requirements-dev.txt requirements-ray.txt requirements-notebooks.txt
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	$(PY) -m pip install --disable-pip-version-check --no-deps -r requirements-nodeps.txt
	touch $@

define newline


endef

# Both stages, four evaluations, the table and the report.
# $(1): training recipes in their order; $(2): evaluation recipes; $(3): the output folder.
define run_all
	$(foreach part,$(1),$(PY) train.py --cfg-path $(BRICKS)/train/$(part).yaml$(newline))
	$(foreach part,$(2),$(PY) evaluate.py --cfg-path $(BRICKS)/eval/$(part).yaml$(newline))
	$(PY) -m lavis.evaluation.report --run $(3)
endef

demo: setup
	$(call run_all,demo_stage1 demo_stage2_draft demo_stage2,demo_stage1 demo_stage2,output/demo)

# The demo with another seed, into output/demo_<seed>: make demo-seed SEED=43
SEED ?= 43
OWN := run.seed=$(SEED) run.output_dir=output/demo_$(SEED)
demo-seed: setup
	$(PY) train.py --cfg-path $(BRICKS)/train/demo_stage1.yaml --options $(OWN)
	$(PY) train.py --cfg-path $(BRICKS)/train/demo_stage2_draft.yaml --options $(OWN) model.pretrained=output/demo_$(SEED)/stage1/checkpoint_last.pth
	$(PY) train.py --cfg-path $(BRICKS)/train/demo_stage2.yaml --options $(OWN) model.pretrained=output/demo_$(SEED)/stage2_draft/checkpoint_last.pth
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/demo_stage1.yaml --options $(OWN) model.finetuned=output/demo_$(SEED)/stage1/checkpoint_last.pth
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/demo_stage2.yaml --options $(OWN) model.finetuned=output/demo_$(SEED)/stage2/checkpoint_last.pth

full: setup
	$(PY) train.py --cfg-path $(BRICKS)/train/pretrain_encoder.yaml
	$(PY) -m lavis.models.point_encoders.export --checkpoint output/bricks/encoder/checkpoint_last.pth --out output/bricks/point_bert_bricks.safetensors
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/encoder_classification.yaml
	$(call run_all,pretrain_stage1 pretrain_stage2_draft pretrain_stage2_questions pretrain_stage2 finetune_captioning,retrieval classification captioning qa,output/bricks)
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/retrieval_colored.yaml
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/qa_controls.yaml
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/captioning_controls.yaml
	$(PY) -m lavis.evaluation.report --run output/bricks

# The voxel network, captions by lookup in it and by a language model that reads the texts found, retrieval with words: 90 minutes of one core. Then answers by votes (not timed alone).
retrieved: setup
	$(PY) train.py --cfg-path $(BRICKS)/train/pretrain_voxel_encoder.yaml
	$(PY) -m lavis.models.point_encoders.export --checkpoint output/bricks/voxel_encoder/checkpoint_last.pth --average --out output/bricks/voxel_bricks.safetensors
	$(PY) -m lavis.models.point_encoders.export --checkpoint output/bricks/voxel_encoder/checkpoint_last.pth --average --part object_head --out output/bricks/voxel_head.safetensors
	$(PY) train.py --cfg-path $(BRICKS)/train/voxel_captioning.yaml
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/voxel_classification.yaml
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/voxel_retriever.yaml
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/voxel_captioning.yaml
	$(PY) train.py --cfg-path $(BRICKS)/train/pretrain_voxel_encoder.yaml --options model.lexical_source=description run.job_id=voxel_lexical
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/voxel_retrieval.yaml
	$(PY) evaluate.py --cfg-path $(BRICKS)/eval/voxel_qa.yaml

# Losses x centre term and the centre term alone, equal samples and updates; captions and answers behind both losses.
study: setup
	$(PY) -m lavis.tasks.alignment_experiment --out output/point_llm_contrastive/study

test: setup
	$(PY) -m pytest --numprocesses 2 --dist loadfile

lint: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy --follow-imports=silent lavis/common lavis/models lavis/runners lavis/tasks lavis/evaluation

readme: setup
	$(PY) -m lavis.evaluation.tables
	$(PY) -m lavis.evaluation.leaderboard
	$(PY) -m benchmarks.tables
	$(PY) -m lavis.evaluation.ability_table

# The documentation as a site, offline: output/docs/site/index.html
docs: setup
	$(PY) -m pip install --disable-pip-version-check -q -r requirements-docs.txt
	$(PY) docs/build_site.py

# Every system beside every baseline on one split: docs/leaderboard.md
leaderboard: setup
	$(PY) -m lavis.evaluation.leaderboard

# Scores, baselines and tables of the demo, recomputed without the package's code.
recompute: setup
	$(PY) -m benchmarks.recompute output/demo --results docs/results --differences

# The demo in the browser: http://127.0.0.1:7860; options of `python -m pointlang.app`: make app APP="--port 8000"
app: setup
	$(PY) -m pip install --disable-pip-version-check -q --no-deps -r requirements-app.txt
	$(PY) -m pointlang.app $(APP)

# Tests of the page in a real browser (apt-get install chromium). What is missing fails, and is not skipped.
test-app: setup
	$(PY) -m pip install --disable-pip-version-check -q --no-deps -r requirements-app.txt
	$(PY) -m pip install --disable-pip-version-check -q -r requirements-app-test.txt
	APP_TESTS_REQUIRED=1 $(PY) -m pytest tests/pointlang/app

clean:
	rm -rf output .pytest_cache .ruff_cache .mypy_cache .hypothesis
