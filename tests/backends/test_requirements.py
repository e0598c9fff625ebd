"""Settings that hardware cannot serve: the table, and what the command line says."""

import json

import pytest

from swiftrl.backends.base import Backend
from swiftrl.backends.capabilities import Capabilities
from swiftrl.backends.detect import BACKENDS
from swiftrl.backends.requirements import MODEL_QUANTIZATION, NEEDS, asked
from swiftrl.cli.main import main
from swiftrl.core.errors import BackendError

CHIPS = [
    pytest.param(name, chip, id=chip.name)
    for name, backend in BACKENDS.items()
    for chip in backend.chips
]


def on(name: str, chip_name: str | None = None) -> Backend:
    """A backend that has one of its chips, whatever this machine has."""
    import dataclasses

    backend = BACKENDS.get(name)
    chip = next(c for c in backend.chips if chip_name in (None, c.name))

    class Pinned(Backend):
        def chip(self):
            return chip

    values = {f.name: getattr(backend, f.name) for f in dataclasses.fields(backend)}
    return Pinned(**values)


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: "-".join(need.settings))
def test_rows_name_capabilities_and_say_what_to_do(need):
    Capabilities().has(need.needs)  # an unknown field would raise
    assert need.why
    for name in BACKENDS.names():
        assert need.todo(name).endswith(".")


@pytest.mark.parametrize(("name", "chip"), CHIPS)
def test_what_a_chip_lacks_is_refused_and_what_it_has_is_not(name, chip):
    for need in NEEDS:
        values = {key: wanted[0] for key, wanted in need.settings.items()}
        assert asked(need, values)
        found = on(name, chip.name).problems(values)
        assert bool(found) != chip.capabilities.has(need.needs)
        assert all(chip.name in problem.reason for problem in found)


@pytest.mark.parametrize(
    ("name", "chip", "values", "said"),
    [
        ("ascend", None, {"quant_method": "bnb"}, "bnb cannot be used on Ascend A2 or A3: bits"),
        ("ascend", None, {"load_in_4bit": True}, "--load_in_4bit: cannot be used on Ascend A2"),
        ("ascend", None, {"quant_method": "fp8"}, "msmodelslim"),
        ("ascend", None, {"attn_impl": "flash_attn"}, "--attn_impl sdpa"),
        ("ascend", None, {"use_liger_kernel": True}, "Leave it out"),
        ("ascend", None, {"torch_compile": True}, "Leave it out"),
        ("ascend", None, {"vllm_quantization": "awq"}, "W8A8"),
        ("ascend", None, {"optim": "paged_adamw_8bit"}, "--optim adamw"),
        ("ascend", "Ascend before A2", {"torch_dtype": "bfloat16"}, "float16 or float32"),
        ("cuda", "NVIDIA Turing or older", {"torch_dtype": "bfloat16"}, "float16 or float32"),
        ("cuda", "NVIDIA Turing or older", {"attn_impl": "flash_attention_2"}, "sdpa"),
        ("cuda", "NVIDIA Ampere", {"attn_impl": "flash_attention_3"}, "flash_attention_2 or sdpa"),
        ("cuda", "NVIDIA Ampere", {"quant_method": "fp8"}, "--quant_method bnb"),
        ("cpu", None, {"torch_dtype": "float16"}, "bfloat16 or float32"),
        ("cpu", None, {"attn_impl": "flash_attention_2"}, "--attn_impl sdpa"),
        ("ascend", None, {"use_vllm": True, MODEL_QUANTIZATION: "gptq"}, "--use_vllm: with gptq w"),
    ],
)
def test_refused(name, chip, values, said):
    backend = on(name, chip)
    with pytest.raises(BackendError) as caught:
        backend.refuse(values)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "chip", "values"),
    [
        ("ascend", "Ascend 950", {"quant_method": "fp8"}),
        ("ascend", None, {"torch_dtype": "bfloat16", "quant_method": "gptq"}),
        ("cuda", "NVIDIA Hopper", {"quant_method": "fp8", "attn_impl": "flash_attention_3"}),
        ("cuda", "AMD GPU (ROCm)", {"torch_dtype": "bfloat16", "quant_method": "bnb"}),
        ("cpu", None, {"torch_dtype": "bfloat16", "load_in_4bit": False, "use_vllm": "true"}),
    ],
)
def test_served(name, chip, values):
    assert on(name, chip).problems(values) == []


def test_everything_that_is_wrong_is_named_at_once():
    with pytest.raises(BackendError) as caught:
        on("ascend").refuse({"load_in_4bit": True, "attn_impl": "flash_attention_2"})
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()] == [
        "--attn_impl",
        "--load_in_4bit",
    ]


MODEL = ["--model", "builtin:tiny-instruct", "--dataset", "builtin:preferences"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        # --backend names hardware that need not be here: its reason comes first all the same.
        (["--backend", "ascend", "--load_in_4bit", "true"], "--load_in_4bit: cannot be used on As"),
        (["--backend", "ascend", "--load_in_8bit", "true"], "--quant_method nf4 quantises to"),
        # Where the hardware is no obstacle, the version is.
        (["--use_cpu", "true", "--quant_method", "fp8"], "not part of this version; use nf4"),
        (["--backend", "cpu", "--load_in_4bit", "true"], "use --quant_method nf4 or bnb"),
        # Flags that the command has.
        (["--use_cpu", "true", "--attn_impl", "flash_attention_2"], "Use --attn_impl sdpa."),
        (["--backend", "cpu", "--use_liger_kernel", "true"], "Triton kernels do not run on it"),
        (["--backend", "cpu", "--torch_dtype", "float16"], "--torch_dtype: float16 cannot be used"),
        (["--backend", "cuda1"], "Did you mean 'cuda'"),
        (["--backend", "mps", "--use_cpu", "true"], "leave one of them out"),
    ],
)
def test_the_command_line_refuses_before_anything_is_loaded(words, said, capsys, tmp_path):
    output = tmp_path / "out"
    code = main(["rlhf", *MODEL, "--output_dir", str(output), *words])
    err = capsys.readouterr().err
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not output.exists()


def test_vllm_with_a_gptq_model_on_ascend(capsys, tmp_path):
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ["--model", str(tmp_path), "--dataset", "x", "--use_vllm", "true"]
    assert main(["rlhf", *words, "--backend", "ascend"]) == 2
    assert "with gptq weights cannot be used on Ascend A2 or A3" in capsys.readouterr().err
    assert main(["rlhf", *words, "--backend", "cpu"]) == 2
    assert "vLLM serves rollouts" in capsys.readouterr().err


def test_infer_refuses_alike(capsys):
    words = ["--model", "builtin:tiny-instruct", "--use_cpu", "true", "--torch_dtype", "float16"]
    assert main(["infer", *words, "--prompt", "hi"]) == 2
    assert "float16 cannot be used on CPU" in capsys.readouterr().err
