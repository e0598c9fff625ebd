"""Settings: precedence, types, messages, help."""

from dataclasses import dataclass

import pytest

from swiftrl.core.config import setting
from swiftrl.core.errors import ConfigError
from swiftrl.core.parse import flag_values, help_page, parse


@dataclass(frozen=True)
class Basics:
    """Basics."""

    rank: int = setting(8, "Rank.")
    rate: float | None = setting(None, "Rate.")
    name: str = setting("a", "Name.", choices=("a", "b"), aliases=("title",))
    quiet: bool = setting(False, "Quiet.")
    files: list[str] = setting([], "Files.")
    columns: dict = setting({}, "Columns.")
    token: str | None = setting(None, "Token.", secret=True)


def read(*words: str):
    return parse("try", [Basics], words, description="Try.", refuse=lambda name: None)


def test_defaults_and_copies():
    first, second = read()[Basics], read()[Basics]
    assert (first.rank, first.rate, first.files) == (8, None, [])
    assert first.files is not second.files


def test_flags_of_every_type():
    words = ["--rank", "16", "--rate", "1e-4", "--title", "b", "--quiet", "true"]
    words += ["--files", "x", "y", "--columns"]
    basics = read(*words, '{"a": "b"}')[Basics]
    assert basics == Basics(16, 1e-4, "b", True, ["x", "y"], {"a": "b"})


def test_a_bare_boolean_is_true_and_null_unsets():
    basics = read("--quiet", "--rate", "null")[Basics]
    assert basics.quiet
    assert basics.rate is None


def test_flags_win_over_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("rank: 4\nfiles: [x]\nquiet: true\n")
    settings = read(str(file), "--rank", "2")
    assert settings[Basics].rank == 2
    assert settings[Basics].files == ["x"]
    assert settings.sources == {"rank": "cli", "files": "run.yaml", "quiet": "run.yaml"}
    assert "rank = 2 (cli; default 8)" in settings.lines()
    assert "files = x (run.yaml; default [])" in settings.lines()


def test_config_flag_and_json(tmp_path):
    file = tmp_path / "run.json"
    file.write_text('{"rank": 4}')
    assert read("--quiet", "true", "--config", str(file))[Basics].rank == 4
    assert read(f"--config={file}")[Basics].rank == 4


def test_env_block_sets_unset_variables_only(tmp_path, monkeypatch):
    monkeypatch.setenv("SWIFTRL_TEST_A", "kept")
    monkeypatch.delenv("SWIFTRL_TEST_B", raising=False)
    file = tmp_path / "run.yaml"
    file.write_text("ENV:\n  SWIFTRL_TEST_A: new\n  SWIFTRL_TEST_B: 2\n")
    read(str(file))
    import os

    assert (os.environ["SWIFTRL_TEST_A"], os.environ["SWIFTRL_TEST_B"]) == ("kept", "2")
    monkeypatch.delenv("SWIFTRL_TEST_B")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rnak", "3"], r"unknown setting --rnak. Did you mean 'rank'\?"),
        (["--rank", "x"], r"--rank: found 'x'; expected int"),
        (["--rank", "1.5"], r"--rank: found '1.5'; expected int"),
        (["--rate", "fast"], r"--rate: found 'fast'; expected float"),
        (["--quiet", "maybe"], r"expected true or false"),
        (["--name", "bb"], r"--name: found 'bb'; expected one of a, b. Did you mean 'b'\?"),
        (["--columns", "{"], r"--columns: not JSON"),
        (["--columns", "[1]"], r"expected a JSON object"),
        (["--rank"], r"expected one argument"),
        (["stray"], r"unexpected argument 'stray'"),
        (["missing.yaml"], r"missing.yaml: no such file"),
    ],
)
def test_messages(words, message):
    with pytest.raises(ConfigError, match=message):
        read(*words)


def test_file_errors_name_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("rank: [1, 2]\n")
    with pytest.raises(ConfigError, match=r"run.yaml: rank: found \[1, 2\]; expected int"):
        read(str(file))
    file.write_text("rnak: 1\n")
    with pytest.raises(ConfigError, match=r"run.yaml: unknown setting --rnak"):
        read(str(file))
    file.write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected `name: value` lines"):
        read(str(file))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        read(str(file))


def test_a_yaml_number_written_as_text_is_a_number(tmp_path):
    """YAML reads 1e-4 as a string; people mean a number."""
    file = tmp_path / "run.yaml"
    file.write_text("rate: 1e-4\n")
    assert read(str(file))[Basics].rate == 1e-4


def test_refusals_give_the_reason():
    with pytest.raises(ConfigError, match="--old: use --rank"):
        parse("try", [Basics], ["--old", "1"], description="", refuse=lambda name: "use --rank")


def test_secrets_are_masked():
    settings = read("--token", "hunter2")
    assert settings[Basics].token == "hunter2"
    assert "hunter2" not in str(settings.lines()) + str(settings.as_dict())


def test_replace_says_resolved():
    settings = read().replace(rate=0.5)
    assert settings[Basics].rate == 0.5
    assert settings.lines() == ["rate = 0.5 (resolved; default unset)"]


def test_flag_values_before_the_full_parse(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("files: [x, y]\n")
    assert flag_values(["--files", "a", "b", "--rank", "1"], "files") == ["a", "b"]
    assert flag_values(["--rank=3"], "rank") == ["3"]
    assert flag_values([str(file)], "files") == ["x", "y"]
    assert flag_values([], "files") == []


def test_help_lists_every_flag():
    page = help_page("try", [], "Try.", [Basics])
    for flag in ("--rank", "--rate", "--name", "--title", "--quiet", "--files", "--columns"):
        assert flag in page
    assert "(default: 8)" in page
