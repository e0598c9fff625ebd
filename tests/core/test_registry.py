"""Registries: names without imports, look-up, suggestions, plugins."""

import pytest

from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import Registry, did_you_mean, load_plugin
from swiftrl.rlhf.algorithm import ALGORITHMS


def test_names_come_from_files():
    assert {"dpo", "sft", "pt"} <= set(ALGORITHMS.names())


def test_get_imports_the_module():
    assert ALGORITHMS.get("dpo").name == "dpo"


def test_unknown_names_suggest():
    with pytest.raises(ConfigError, match=r"unknown algorithm 'dpoo'.*Did you mean 'dpo'"):
        ALGORITHMS.get("dpoo")
    assert did_you_mean("zzz", ["abc"]) == ""


def test_registered_objects_and_taken_names():
    registry: Registry[str] = Registry("thing", "swiftrl.rlhf.algorithms", "ALGORITHM")
    registry.register("mine", "object")
    assert registry.get("mine") == "object"
    assert "mine" in registry.names()
    with pytest.raises(ConfigError, match="registered already"):
        registry.register("mine", "again")


def test_plugin_files(tmp_path):
    with pytest.raises(ConfigError, match=r"expected an existing \.py file"):
        load_plugin(str(tmp_path / "none.py"))
    file = tmp_path / "plug.py"
    file.write_text("VALUE = 1\n")
    load_plugin(str(file))


def test_a_plugin_file_runs_once(tmp_path):
    """Settings are read more than once in a process; registering twice would be an error."""
    file = tmp_path / "counted.py"
    count = tmp_path / "count"
    file.write_text(f"with open({str(count)!r}, 'a') as out:\n    out.write('x')\n")
    load_plugin(str(file))
    load_plugin(str(file))
    assert count.read_text() == "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef broken(:\n", ":2: cannot be run: invalid syntax"),
        ("import no_such_module", ": cannot be run"),
    ],
)
def test_a_plugin_that_is_no_python_is_named(tmp_path, text, message):
    file = tmp_path / "broken.py"
    file.write_text(text)
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            load_plugin(str(file))
        assert f"--external_plugins {file}{message}" in str(caught.value)


def test_names_are_guessed_whatever_their_case():
    assert did_you_mean("DPO", ["sft", "dpo"]) == " Did you mean 'dpo'?"
