"""`swiftrl export --quant_method`, from command to folder."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import device
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import make_model, make_tokenizer, save_model

from swiftrl.cli.main import main
from swiftrl.core.files import write_text
from swiftrl.models.builtin_models import builtin_path
from swiftrl.quant.format import FORMATS
from swiftrl.quant.scheme import Scheme

SMALL = ["--quant_n_samples", "24", "--quant_eval_samples", "12", *device.flags()]
MODEL = ["--model", "builtin:tiny-instruct"]


def export(output: Path, *words: str, code: int = 0) -> None:
    cache = ["--cache_dir", str(output.parent / "cache")]
    assert main(["export", *SMALL, *words, *cache, "--output_dir", str(output)]) == code


def report(folder: Path) -> dict:
    return json.loads((folder / "quantisation_report.json").read_text())


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "gptq"
    export(folder, *MODEL, "--quant_method", "gptq")
    return folder


def test_the_folder_is_whole(quantised):
    names = {path.name for path in quantised.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert {f"quantisation_report.{end}" for end in ("json", "md", "png")} <= names
    assert not list(quantised.parent.glob(".gptq.*"))
    config = json.loads((quantised / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "gptq"
    assert config["dtype"] == "bfloat16"


def test_weights_are_those_of_the_original_rounded(quantised):
    """Every layer by its published name; what is not quantised is the same bit for bit."""
    before = load_file(builtin_path("tiny-instruct") / "model.safetensors")
    after = load_file(quantised / "model.safetensors")
    form, scheme = FORMATS.get("gptq"), Scheme(4, 128)
    packed = {name.rpartition(".")[0] for name in after if name.endswith(".qweight")}
    assert len(packed) == 28
    for name, weight in before.items():
        layer = name.removesuffix(".weight")
        if layer not in packed:
            assert torch.equal(after.pop(name), weight), name
            continue
        own = {end: after.pop(f"{layer}.{end}") for end in ("qweight", "qzeros", "scales", "g_idx")}
        rounded = form.dequantise(own, scheme, torch.float32)
        error = (rounded - weight.float()).norm() / weight.float().norm()
        assert 0.01 < error < 0.3, (name, error)
    assert not after


def test_the_report_says_what_it_cost(quantised):
    found = report(quantised)
    assert found["rows"] == 12
    assert 0 < found["kl"] < 0.1
    assert found["perplexity_before"] > 1
    assert len(found["layers"]) == 28
    assert all(0 < layer["relative_error"] < 0.05 for layer in found["layers"])
    text = (quantised / "quantisation_report.md").read_text()
    assert "| `model.layers.*.mlp.down_proj` | 4 |" in text
    assert f"{found['kl']:.5f} nats a token" in text


def test_gptq_is_nearer_to_the_original_than_rounding_to_the_nearest(quantised, tmp_path):
    export(tmp_path / "rtn", *MODEL, "--quant_method", "rtn")
    assert report(quantised)["kl"] < 0.6 * report(tmp_path / "rtn")["kl"]


def test_making_good_what_earlier_layers_lost_helps(tmp_path):
    words = [*MODEL, "--quant_method", "gptq", "--quant_eval_samples", "64"]
    for chosen in ("true", "false"):
        export(tmp_path / chosen, *words, "--gptaq", chosen)
    assert report(tmp_path / "true")["kl"] < 0.95 * report(tmp_path / "false")["kl"]


def test_awq_rounds_as_gptq_does_unless_told_otherwise(tmp_path):
    """Scales and both ways of rounding each lose less than plain rounding."""
    words = [*MODEL, "--quant_eval_samples", "64", "--quant_format", "awq"]
    export(tmp_path / "rtn", *words, "--quant_method", "rtn")
    for chosen in ("gptq", "nearest"):
        export(tmp_path / chosen, *words, "--quant_method", "awq", "--awq_rounding", chosen)
    plain, good, nearest = (report(tmp_path / n)["kl"] for n in ("rtn", "gptq", "nearest"))
    assert good < 0.4 * plain
    assert nearest < 0.9 * plain


def test_a_result_too_far_away_is_refused_unless_forced(tmp_path, capsys):
    words = [*MODEL, "--quant_method", "rtn", "--quant_bits", "2"]
    export(tmp_path / "far", *words, code=2)
    said = capsys.readouterr().err
    assert "--quant_max_kl is 0.3" in said
    assert "Nothing was written" in said
    assert not (tmp_path / "far").exists()
    export(tmp_path / "far", *words, "--force", "true")
    assert report(tmp_path / "far")["within_bound"] is False


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--quant_method", "gtpq"], "Did you mean 'gptq'"),
        (["--quant_method", "gptq", "--quant_bits", "5"], "makes 4, 8, 3 or 2 bits"),
        (["--quant_method", "gptq", "--quant_format", "awq"], "writes gptq, gptq_v2 or"),
        (["--quant_method", "gptq", "--group_size", "0"], "expected 1 or more, or -1"),
        (["--quant_method", "gptq", "--group_size", "256"], "--group_size 128 is the largest"),
        (["--quant_method", "gptq", "--damp_percent", "7"], "expected 0 up to 1"),
        (["--quant_method", "awq", "--damp_percent", "7"], "expected 0 up to 1"),
        (["--quant_method", "gptq", "--quant_n_samples", "0"], "--quant_n_samples 0"),
        (["--quant_method", "gptq", "--dataset", "absent.jsonl"], "absent.jsonl"),
        (["--quant_method", "rtn", "--quant_bits", "3", "--quant_format", "awq"], "awq"),
        ([], "nothing to export"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(tmp_path, capsys, words, expected):
    export(tmp_path / "none", *MODEL, *words, code=2)
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_quantised_model_is_not_quantised_again(quantised, tmp_path, capsys):
    export(tmp_path / "twice", "--model", str(quantised), "--quant_method", "rtn", code=2)
    assert "is quantised already (gptq" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(quantised, capsys):
    export(quantised, *MODEL, "--quant_method", "rtn", code=2)
    assert "exists and is not empty" in capsys.readouterr().err


def rows(path: Path, count: int, words: int = 8) -> Path:
    lines = [
        {"messages": [
            {"role": "user", "content": f"What is {n} plus {n}?"},
            {"role": "assistant", "content": " ".join([str(2 * n)] * words)},
        ]}
        for n in range(count)
    ]  # fmt: skip
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_too_few_rows(tmp_path, capsys):
    data = rows(tmp_path / "few.jsonl", 20)
    export(tmp_path / "few", *MODEL, "--quant_method", "gptq", "--dataset", str(data), code=2)
    assert "too few samples: 20 rows can be used and 36 are wanted" in capsys.readouterr().err


def test_no_rows(tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("")
    data = ["--dataset", str(tmp_path / "empty.jsonl")]
    export(tmp_path / "none", *MODEL, "--quant_method", "gptq", *data, code=2)
    assert "empty.jsonl" in capsys.readouterr().err


def test_rows_that_are_all_too_long(tmp_path, capsys):
    data = ["--dataset", str(rows(tmp_path / "long.jsonl", 40)), "--max_length", "16"]
    export(tmp_path / "none", *MODEL, "--quant_method", "gptq", *data, code=2)
    said = capsys.readouterr().err
    assert "none of the 40 rows can be used" in said
    assert "max_length is 16" in said


def damaged(folder: Path, name: str, row: int | None = None) -> Path:
    """Return a copy of the built-in model with NaN in one weight, or in a row of it."""
    shutil.copytree(builtin_path("tiny-instruct"), folder)
    weights = load_file(folder / "model.safetensors")
    weights[name][slice(None) if row is None else row] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_nan_names_the_row_and_the_layer(tmp_path, capsys):
    model = damaged(tmp_path / "model", "model.layers.2.mlp.up_proj.weight", 5)
    data = ["--dataset", str(rows(tmp_path / "rows.jsonl", 40))]
    export(tmp_path / "none", "--model", str(model), "--quant_method", "gptq", *data, code=2)
    said = capsys.readouterr().err
    assert "layer model.layers.2.mlp.up_proj (Linear) is the first to" in said
    assert "rows.jsonl:" in said


def test_nan_in_one_token_names_the_row_that_has_it(tmp_path, capsys):
    model = make_model(tied=False)
    rare = make_tokenizer()("ζ")["input_ids"][0]
    model.model.embed_tokens.weight.data[rare] = float("nan")
    save_model(tmp_path / "model", model)
    data = rows(tmp_path / "rows.jsonl", 35)
    with data.open("a", encoding="utf-8") as file:
        message = [{"role": "user", "content": "A"}, {"role": "assistant", "content": "zebra ζ"}]
        file.write(json.dumps({"messages": message}) + "\n")
    words = ["--model", str(tmp_path / "model"), "--quant_method", "gptq", "--group_size", "16"]
    export(tmp_path / "none", *words, "--dataset", str(data), code=2)
    said = capsys.readouterr().err
    assert "rows.jsonl:36: this calibration row makes NaN" in said
    assert "layer model.embed_tokens (Embedding)" in said


def test_an_unwritable_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    export(tmp_path / "file" / "out", *MODEL, "--quant_method", "rtn", code=2)
    assert "a file stands where a folder is needed" in capsys.readouterr().err


def test_merging_alone_is_what_merge_lora_does(tmp_path, capsys):
    assert main(["export", *MODEL, "--merge_lora", "true", "--output_dir", str(tmp_path)]) == 2
    assert "--adapters is missing" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["gptq", "awq"])
@pytest.mark.parametrize("kind", ["Mixtral", "Qwen3Moe", "Llama"])
def test_families_read_again_and_better_than_rounding(kind, method, tmp_path):
    sizes = {
        "Mixtral": {"num_local_experts": 4},
        "Qwen3Moe": {
            "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
            "decoder_sparse_step": 1,
        },
    }.get(kind, {})  # fmt: skip
    model = make_model(kind, tied=False, **sizes)
    for name, weight in model.named_parameters():
        if name.endswith("layernorm.weight"):
            weight.data[::8] *= 8  # loud inputs, as trained models have them
    folder = save_model(tmp_path / "model", model)
    words = ["--model", str(folder), "--group_size", "16", "--force", "true"]
    words += ["--dataset", "builtin:instructions"]
    layout = ["--quant_format", "awq" if method == "awq" else "gptq"]
    export(tmp_path / "rtn", *words, "--quant_method", "rtn", *layout)
    export(tmp_path / "own", *words, "--quant_method", method, *layout)
    own = report(tmp_path / "own")
    assert own["reload_difference"] < 1e-4
    assert own["kl"] < 0.9 * report(tmp_path / "rtn")["kl"]
    names = load_file(tmp_path / "own" / "model.safetensors")
    inside = {"Mixtral": "block_sparse_moe.experts.3.w2", "Qwen3Moe": "mlp.experts.7.down_proj"}
    assert f"model.layers.1.{inside.get(kind, 'mlp.down_proj')}.qweight" in names


def test_pictures_calibrate_too_and_their_tower_stays(tmp_path):
    words = ["--model", "builtin:tiny-vl", "--dataset", "builtin:vl-instructions"]
    export(tmp_path / "vl", *words, "--quant_method", "gptq", "--quant_n_samples", "12")
    before = load_file(builtin_path("tiny-vl") / "model.safetensors")
    after = load_file(tmp_path / "vl" / "model.safetensors")
    tower = [name for name in before if "visual" in name]
    assert tower
    assert all(torch.equal(before[name], after[name]) for name in tower)
    assert report(tmp_path / "vl")["kl"] < 0.1


def killed_in_the_midst(output: Path, *words: str) -> None:
    """Start an export in a process of its own and kill it -9 once its second block is written."""
    words = ["export", *SMALL, *words, "--cache_dir", str(output.parent / "cache")]
    process = subprocess.Popen(
        [sys.executable, "-m", "swiftrl", *words, "--output_dir", str(output)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    second = output.with_name(f".{output.name}.partial") / "block-00001.safetensors"
    while process.poll() is None and not second.exists():
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert second.exists()
    assert not output.exists()


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_killed_run_goes_on_and_gives_the_same_files(method, tmp_path, capsys):
    words = [*MODEL, "--quant_method", method]
    killed_in_the_midst(tmp_path / "out", *words)
    export(tmp_path / "out", *words)
    assert "blocks that an interrupted run left" in capsys.readouterr().out
    export(tmp_path / "whole", *words)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(tmp_path.glob(".out.*"))


def test_other_settings_start_anew(tmp_path, capsys):
    words = [*MODEL, "--quant_method", "gptq"]
    killed_in_the_midst(tmp_path / "out", *words)
    export(tmp_path / "out", *words, "--quant_bits", "8")
    assert "an interrupted run with other settings; starting anew" in capsys.readouterr().out
    assert report(tmp_path / "out")["bits"] == 8
