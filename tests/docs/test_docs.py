"""The documentation: generated parts are fresh, both languages agree, and what it shows works."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from swiftrl.cli.command import COMMANDS, settings_of
from swiftrl.cli.main import main
from swiftrl.data.rows import Origin, RawRow
from swiftrl.data.schema import detect_kind, to_row
from swiftrl.rlhf.algorithms.dpo import LOSS_TYPES

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = (
    {path.name: path for path in (ROOT / "docs" / code).glob("*.md")} for code in ("en", "zh")
)
PAGES = [
    ROOT / "README.md",
    ROOT / "README_zh.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ENGLISH.values()),
    *sorted(CHINESE.values()),
]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yaml"))
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> list[tuple[str, str, str]]:
    """Return (comment before, language, text) of a page's fenced blocks."""
    return BLOCK.findall(path.read_text("utf-8"))


def headings(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    return HEADING.findall(text)


def command_lines(text: str) -> list[tuple[dict[str, str], list[str]]]:
    """Return (environment, words after `swiftrl`) of each command in a block of shell."""
    found = []
    text = re.sub(r"<<'(\w+)'.*?\n\1\n", "\n", text + "\n", flags=re.DOTALL)
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(re.sub(r"(^|\s)#.*", "", line))
        environment = {}
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            key, _, value = words.pop(0).partition("=")
            environment[key] = value
        if words and words[0].endswith("swiftrl"):
            end = next((i for i, word in enumerate(words) if word in ("|", ">", "&&")), len(words))
            found.append((environment, words[1:end]))
    return found


COMMANDS_SHOWN = [
    pytest.param(words, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, words in enumerate(
        words
        for _, language, text in blocks(page)
        if language in ("bash", "sh")
        for _, words in command_lines(text)
    )
]


def test_generated_pages_are_fresh():
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_both_languages_have_the_same_pages():
    assert ENGLISH.keys() == CHINESE.keys()


BOTH = [
    pytest.param(english, chinese, id=english.name)
    for english, chinese in [
        (ROOT / "README.md", ROOT / "README_zh.md"),
        *((ENGLISH[name], CHINESE[name]) for name in sorted(ENGLISH.keys() & CHINESE.keys())),
    ]
]


@pytest.mark.parametrize(("english", "chinese"), BOTH)
def test_both_languages_have_the_same_outline(english, chinese):
    levels = [[len(level) for level, _ in headings(page)] for page in (english, chinese)]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("name", sorted(ENGLISH))
def test_both_languages_show_the_same_code(name):
    """Commands and rows are the same; comments and prose inside blocks may be translated."""
    sides = [
        [
            (mark, text)
            for mark, language, text in blocks(side[name])
            if language in ("bash", "json")
        ]
        for side in (ENGLISH, CHINESE)
    ]
    plain = [[(mark, re.sub(r"(?<!\S)#.*", "", text)) for mark, text in side] for side in sides]
    assert plain[0] == plain[1]


def slug(heading: str) -> str:
    kept = [c for c in heading.lower() if c.isalnum() or c in " -_"]
    return "".join(kept).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"https?://|mailto:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in {slug(title) for _, title in headings(linked)}, target


@pytest.mark.parametrize("words", COMMANDS_SHOWN)
def test_commands_in_the_docs_parse(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    if not words or words[0] in ("--help", "COMMAND"):
        return
    if "--help" in words:
        assert words[0].replace("-", "_") in COMMANDS.names()
        return
    settings_of(words[0], words[1:])


@pytest.mark.parametrize("name", ["en", "zh"])
def test_every_loss_is_described(name):
    page = (ROOT / "docs" / name / "algorithms.md").read_text("utf-8")
    for loss in LOSS_TYPES:
        assert f"\n| `{loss}` | " in page


@pytest.mark.parametrize("path", [ENGLISH["data.md"], CHINESE["data.md"]], ids=name_of)
def test_rows_in_the_docs_are_of_their_kind(path):
    shown = [(mark, text) for mark, language, text in blocks(path) if language == "json"]
    assert len(shown) > 15
    for mark, text in shown:
        kind = mark.removeprefix("row: ")
        raw = RawRow(Origin("row.jsonl", 1), json.loads(text))
        assert detect_kind(raw) == kind, text
        to_row(raw, kind)


def test_examples_are_explained():
    page = (ROOT / "docs" / "examples" / "README.md").read_text("utf-8")
    for path in (ROOT / "docs" / "examples").iterdir():
        # Plugins that ran have left their bytecode.
        known = path.is_dir() or path.name == "README.md"
        assert known or f"]({path.name})" in page


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path, tmp_path):
    command = yaml.safe_load(path.read_text("utf-8").splitlines()[0].lstrip("# "))
    words = command["command"].split()[1:-1]
    trains = words[0] != "export"
    short = ["--max_steps", "2"] if trains else []
    published = "to" in yaml.safe_load(path.read_text("utf-8"))
    if published:
        short = ["--destination", str(tmp_path / "out")]
    code = main(
        [*words, str(path), *short, "--use_cpu", "true", "--output_dir",
         str(tmp_path / "out"), "--cache_dir", str(tmp_path / "cache")]
    )  # fmt: skip
    assert code == 0
    made = "checkpoint-2" if trains else "quantisation_report.md"
    made = "Modelfile" if published else made
    assert list((tmp_path / "out").rglob(made))


def run_block(text: str, monkeypatch) -> None:
    """Do what a block of shell says: files written with `cat > NAME <<'EOF'`, and swiftrl."""
    for name, mark, content in re.findall(r"cat > (\S+) <<'(\w+)'\n(.*?)\n\2\n", text, re.DOTALL):
        assert mark
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content + "\n", "utf-8")
    for environment, words in command_lines(text):
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        assert main(words) == 0, " ".join(words)
        for key in environment:
            monkeypatch.delenv(key)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/en/quickstart.md",
        "docs/en/algorithms.md",
        "docs/en/quantisation.md",
        "docs/en/export.md",
        "docs/en/templates.md",
    ],
)
def test_marked_blocks_run(page, tmp_path, monkeypatch):
    """In a temporary folder, in the order of the page; later blocks use what earlier ones made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    ran = 0
    for mark, language, text in blocks(ROOT / page):
        if mark != "runs":
            continue
        if language == "python":
            exec(compile(text, page, "exec"), {"__name__": "block"})
        else:
            run_block(text, monkeypatch)
        ran += 1
    assert ran
