"""`--quant_backend`: other packages in our place, and what is said where they cannot be."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from swiftrl.cli.main import main
from swiftrl.export.engine import ENGINES

MODEL = ["--model", "builtin:tiny-instruct", "--use_cpu", "true"]
SMALL = ["--quant_n_samples", "24", "--quant_eval_samples", "8"]
PYTHONS = Path(__file__).parents[2] / "benchmarks" / ".venvs"


def export(output, *words, code=0):
    cache = ["--cache_dir", str(output.parent / "cache")]
    assert main(["export", *MODEL, *SMALL, *words, *cache, "--output_dir", str(output)]) == code


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gptq", "--quant_backend", "gptqmodell"], "Did you mean 'gptqmodel'"),
        (["gptq", "--quant_backend", "autoawq"], "autoawq: makes awq; found --quant_method gptq"),
        (["rtn", "--quant_backend", "gptqmodel"], "makes gptq and awq; found --quant_method rtn"),
        (
            ["gptq", "--quant_backend", "llmcompressor", "--quant_format", "gptq"],
            "--quant_format gptq: llmcompressor writes gptq as compressed_tensors",
        ),
        (
            ["awq", "--quant_backend", "autoawq", "--damp_percent", "0.1"],
            "--damp_percent: is not served by --quant_backend autoawq",
        ),
        (
            ["gptq", "--quant_backend", "gptqmodel", "--quant_python", "/nowhere/python"],
            "--quant_python /nowhere/python: cannot be run",
        ),
        (["gptq", "--quant_python", "/usr/bin/python3"], "is for another --quant_backend"),
    ],
)
def test_what_cannot_be_is_refused_at_once(words, expected, tmp_path, capsys):
    export(tmp_path / "out", "--quant_method", *words, code=2)
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("name", ENGINES.names())
def test_a_package_that_is_not_there_is_named(name, tmp_path, capsys):
    facts = ENGINES.get(name)
    method = next(iter(facts["writes"]))
    words = ["--quant_method", method, "--quant_backend", name]
    if importlib.util.find_spec(facts["imports"]) is None:
        export(tmp_path / "out", *words, code=2)
        assert f"the package {facts['package']} is not installed" in capsys.readouterr().err
    code = f"import sys; sys.modules[{facts['imports']!r}] = None"
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{code}\nexec(sys.argv[-1])\n")
    python.chmod(0o755)
    export(tmp_path / "out", *words, "--quant_python", str(python), code=2)
    said = capsys.readouterr().err
    assert f"{facts['package']} does not import with {python}" in said
    assert facts["note"] in said


def test_facts_name_methods_and_formats_that_are_known():
    from swiftrl.export.method import METHODS

    for name, facts in ENGINES.items():
        for method, formats in facts["writes"].items():
            assert set(formats) <= set(METHODS.get(method).formats), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "folder", "method"),
    [
        ("gptqmodel", "quant", "gptq"),
        ("autoawq", "autoawq", "awq"),
        ("llmcompressor", "llmcompressor", "gptq"),
    ],
)
def test_a_package_in_its_own_environment_quantises(name, folder, method, tmp_path):
    python = PYTHONS / folder / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment at {python} (benchmarks/environments.py)")
    words = ["--quant_method", method, "--quant_backend", name, "--quant_python", str(python)]
    export(tmp_path / "out", *words)
    report = json.loads((tmp_path / "out" / "quantisation_report.json").read_text())
    assert len(report["layers"]) == 28
    assert all(0 < layer["relative_error"] < 0.1 for layer in report["layers"])
    assert report["kl"] < 0.2
    assert load_file(tmp_path / "out" / "model.safetensors")


@pytest.mark.slow
def test_a_package_that_fails_leaves_nothing_but_what_it_said(tmp_path, capsys):
    """A tiny group has no kernel in GPTQModel; swiftrl itself takes it."""
    python = PYTHONS / "quant" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment at {python} (benchmarks/environments.py)")
    words = ["--quant_backend", "gptqmodel", "--quant_python", str(python), "--group_size", "4"]
    export(tmp_path / "out", "--quant_method", "gptq", *words, code=2)
    assert "gptqmodel failed: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.gptqmodel.log").stat().st_size > 0
