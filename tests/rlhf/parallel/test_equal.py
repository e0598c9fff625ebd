"""Two processes train as one does, however the weights lie over them, and resume one another."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_run import Setup, environment, lines_of, make_trainer, program, run, weights_of

STEPS, HALF = 20, 10
CASES = {
    "dpo-lora": Setup({}, "dpo", lora=True),
    "dpo-full": Setup({}, "dpo", lora=False),
    "sft-full": Setup({}, "sft", lora=False),
    "grpo-lora": Setup({}, "grpo", lora=True),
    "ppo-lora": Setup({}, "ppo", lora=True),
    "ppo-full": Setup({}, "ppo", lora=False),
    "rm-lora": Setup({}, "rm", lora=True),
    "rm-full": Setup({}, "rm", lora=False),
    "gkd-lora": Setup({}, "gkd", lora=True),
    "gkd-full": Setup({}, "gkd", lora=False),
    "aot-full": Setup({}, "dpo", {"loss_type": ["aot"]}, lora=False),
    "experts-full": Setup({}, "dpo", lora=False, experts=4),
}
OTHERS = {
    "offload": {"fsdp": "fsdp2_offload"},
    "recomputed": {"fsdp": "fsdp2", "checkpointing": True},
    "fsdp-bf16": {"fsdp": "fsdp2", "dtype": "bfloat16"},
    "ddp-bf16": {"dtype": "bfloat16"},
}
"""Of dpo-full: parts in the host's memory, recomputed activations, half precision."""
WAYS = {"ddp": None, "fsdp": "fsdp2"}


def setup_of(case, folder: Path, processes, way=None, **train):
    """A run of 20 steps over 8 rows; the last rows of an epoch leave steps of other shapes."""
    return replace(
        CASES[case],
        train={
            "output_dir": str(folder),
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 4 // processes,
            "max_steps": STEPS,
            "learning_rate": 2e-3,
            "weight_decay": 0.1,
            "logging_steps": 5,
            "eval_strategy": "steps",
            "save_steps": HALF,
        }
        | train,
        num_rows=21,
        num_held_out=5,
        untrained=[4],
        fsdp=way,
        weights=str(folder.with_suffix(".safetensors")),
    )


def launch(setups, processes):
    done = subprocess.run(
        program(setups, processes=processes),
        env=environment(), capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every case: in one process here, in two by data parallelism and by FSDP2."""
    folder = tmp_path_factory.mktemp("equal")
    for case in CASES:
        run(setup_of(case, folder / f"{case}-one", 1))
    launch(
        [setup_of(case, folder / f"{case}-{way}", 2, WAYS[way]) for case in CASES for way in WAYS],
        processes=2,
    )
    launch(
        [
            replace(setup_of("dpo-full", folder / f"dpo-full-{name}", 2), **changes)
            for name, changes in OTHERS.items()
        ],
        processes=2,
    )
    return folder


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def assert_same(folder, name, reference):
    """Weights and metrics of two runs agree to rounding; return by how much they differ."""
    weights, expected = (load_file(folder / f"{run}.safetensors") for run in (name, reference))
    difference = largest_difference(weights, expected)
    assert difference < 2e-5
    lines, before = lines_of(folder / name), lines_of(folder / reference)
    assert len(lines) == len(before)
    for line, other in zip(lines, before, strict=True):
        for key in line.keys() - {"tokens_per_s", "samples_per_s", "elapsed_s"}:
            assert line[key] == pytest.approx(other[key], rel=5e-4, abs=5e-5), key
    return difference


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_equal_one_over_twenty_steps(folder, case, way, record_property):
    start = weights_of(make_trainer(setup_of(case, folder / f"{case}-{way}-start", 1)))
    moved = largest_difference(load_file(folder / f"{case}-one.safetensors"), start)
    assert moved > 1e-2, "the weights hardly moved: nothing was compared"
    record_property("largest_difference", assert_same(folder, f"{case}-{way}", f"{case}-one"))


@pytest.mark.parametrize("name", ["offload", "recomputed"])
def test_other_ways_of_fsdp(folder, name):
    assert_same(folder, f"dpo-full-{name}", "dpo-full-one")


def test_half_precision_agrees_to_its_rounding(folder):
    both = [lines_of(folder / f"dpo-full-{way}-bf16") for way in WAYS]
    trained = [(line, other) for line, other in zip(*both, strict=True) if "loss" in line]
    assert trained
    for line, other in trained:
        assert line["logps/chosen"] == pytest.approx(other["logps/chosen"], rel=1e-2)
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-2)


def test_fsdp_writes_what_resuming_needs_in_parts(folder):
    parts = sorted(p.name for p in (folder / "dpo-full-fsdp/checkpoint-20/trainer").iterdir())
    assert parts == [
        "part-00001-of-00002.safetensors",
        "part-00002-of-00002.safetensors",
        "state.json",
    ]


def resumed(folder, case, before, processes, way):
    """Copy a run's half-way checkpoint, and return what goes on from it."""
    name = f"{case}-{before}-{processes}-{way}"
    shutil.copytree(
        folder / f"{case}-{before}" / f"checkpoint-{HALF}", folder / name / f"checkpoint-{HALF}"
    )
    shutil.copy(folder / f"{case}-{before}" / "metrics.jsonl", folder / name)
    return setup_of(
        case, folder / name, processes, WAYS[way], resume_from_checkpoint=str(folder / name)
    )


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_checkpoint_is_resumed_by_other_processes_and_ways(folder, processes):
    """One, two and four processes, the same way as before or the other one."""
    pairs = [("fsdp", "fsdp"), ("fsdp", "ddp"), ("ddp", "fsdp")]
    pairs = [pair for pair in pairs if processes == 2 or pair[0] == "fsdp"]
    cases = ("dpo-lora", "dpo-full")
    setups = [
        resumed(folder, case, before, processes, way)
        for case in cases
        for before, way in pairs
        if processes > 1 or way == "ddp"
    ]
    if processes == 1:
        for setup in setups:
            run(setup)
    else:
        launch(setups, processes)
    for setup in setups:
        name = Path(setup.train["output_dir"]).name
        assert_same(folder, name, f"{name[:8]}-one")
