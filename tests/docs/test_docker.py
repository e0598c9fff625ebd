"""The Dockerfiles, read: no engine builds them here (hadolint does `make lint-docker`)."""

import fnmatch
import importlib.metadata
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from swiftrl.backends.cann import RECOMMENDED

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
KNOWN = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return (instruction, its words) of a Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]  # type: ignore[misc]


def arguments(path: Path) -> dict[str, str]:
    return dict(words.split("=", 1) for name, words in instructions(path) if name == "ARG")


def ignored(name: str) -> bool:
    """What .dockerignore says: the last line that fits decides."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").split():
        pattern = line.lstrip("!")
        if fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/"):
            verdict = not line.startswith("!")
    return verdict


def test_there_is_one_for_each_kind_of_hardware():
    assert [path.stem for path in FILES] == ["ascend", "cpu", "cuda"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_instructions(path):
    found = instructions(path)
    assert {name for name, _ in found} <= KNOWN
    assert next(name for name, _ in found if name != "ARG") == "FROM"
    assert found[-1] == ("CMD", '["env"]')
    for name, words in found:
        if name == "COPY":
            *sources, _ = [word for word in shlex.split(words) if not word.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), source
                assert not ignored(source), f"{source} is not sent to the builder"
        if name == "RUN":
            subprocess.run(["bash", "-n", "-c", words], check=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_the_build_needs_is_sent_and_nothing_more(path):
    metadata = importlib.metadata.metadata("swiftrl")
    copied = " ".join(words for name, words in instructions(path) if name == "COPY")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert 'readme = "README.md"' in project
    assert {"README.md", "pyproject.toml", "LICENSE"} <= set(copied.split())
    [extras] = re.findall(r"\.\[([\w,]+)\]", path.read_text("utf-8"))
    assert set(extras.split(",")) <= set(metadata.get_all("Provides-Extra"))
    assert all(ignored(name) for name in (".git", ".venv", "tests", "docs/en/data.md"))


def test_versions_are_those_of_the_project():
    script = (ROOT / "scripts/install_torch.sh").read_text("utf-8")
    installed = dict(re.findall(r"^(\w*TORCH\w*)=(\S+)$", script, re.MULTILINE))
    for name in ("cpu", "cuda"):
        assert arguments(ROOT / "docker" / f"{name}.Dockerfile")["TORCH"] == installed["TORCH"]
    ascend = arguments(ROOT / "docker/ascend.Dockerfile")
    assert ascend["TORCH"] == installed["ASCEND_TORCH"] == RECOMMENDED.torch
    assert ascend["TORCH_NPU"] == installed["ASCEND_TORCH_NPU"] == RECOMMENDED.torch_npu
    assert f"/cann:{RECOMMENDED.cann}-" in ascend["BASE"]


def test_the_entry_runs_its_command_without_cann(tmp_path):
    done = subprocess.run(
        ["bash", str(ROOT / "docker/with-cann.sh"), "sh", "-c", "exit 7"], check=False
    )
    assert done.returncode == 7
