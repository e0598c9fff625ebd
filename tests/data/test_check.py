"""The report behind `swiftrl data check`."""

import json

import pytest
import tiny_models

from swiftrl.data.check import check
from swiftrl.templates.template import Template

PAIR = {"prompt": "2+2?", "chosen": "4", "rejected": "5", "source": "x"}
ROWS = [
    PAIR,
    PAIR,
    {**PAIR, "rejected": "6"},
    {**PAIR, "rejected": "4"},
    {"prompt": "a", "completion": "b", "label": True},
    {"nothing": 1},
    {"nothing": 2},
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n{broken\n")
    return path


def test_rows_are_counted_by_kind_format_repetition_and_fault(file):
    report = check([str(file)])
    (found,) = report.files
    assert found.rows == 8
    assert found.kinds == {"preference": 3, "labelled": 1}
    assert found.formats == {"preference": 3, "prompt_completion": 1}
    assert (found.duplicate_rows, found.duplicate_prompts) == (1, 2)
    assert (found.bad, found.identical_replies) == (4, 1)
    assert found.bad_reasons[0][1:] == (2, f"{file}:6")
    assert found.unused_columns == {"source": 3}
    assert found.lengths == {}
    assert not report.ok
    assert [item["line"] for item in report.to_json()["bad_rows"]] == [4, 6, 7, 8]


def test_lengths_need_a_template(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(PAIR) + "\n" + json.dumps({**PAIR, "chosen": "four " * 40}))
    template = Template.load(tiny_models.make_tokenizer())
    report = check([str(file)], template, max_length=60)
    (found,) = report.files
    assert report.ok
    assert found.too_long == 1
    assert found.lengths["0"] <= found.lengths["50"] <= found.lengths["100"]
    assert found.lengths["100"] > 60
    assert sum(found.histogram.values()) == 4
    assert 0 < found.trained_tokens < found.tokens


def test_a_kind_may_be_demanded_and_columns_renamed(file):
    report = check([f"{file}#5"], kind="labelled", columns={"prompt": "query", "absent": "x"})
    (found,) = report.files
    assert (found.rows, found.bad) == (5, 4)
    assert found.kinds == {"labelled": 1}
    assert found.formats == {"query_response": 1}
    assert found.missing_columns == ["absent"]


def test_the_report_is_shown_as_tables_and_as_json(file, capsys):
    report = check([str(file)], Template.load(tiny_models.make_tokenizer()), columns={"q": "z"})
    report.show()
    said = capsys.readouterr()
    for text in ("preference 3", "Tokens a sequence", "Bad rows in", "source (3)"):
        assert text in said.out
    assert "no row has q (--columns)" in said.err
    assert json.loads(json.dumps(report.to_json()))["files"][0]["rows"] == 8
