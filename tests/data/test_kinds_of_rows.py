"""Every kind of row given to every other kind: it serves, or the row and what fits it are named."""

import itertools

import pytest

from swiftrl.data.rows import KINDS, Origin, RawRow, RowError
from swiftrl.data.schema import detect_kind, to_row

ASK, TELL = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
ROWS = {
    "preference": {"prompt": "a", "chosen": "b", "rejected": "c"},
    "instruction": {"messages": [ASK, TELL]},
    "text": {"text": "a document"},
    "labelled": {"messages": [ASK, TELL], "label": True},
    "prompt": {"messages": [ASK]},
    "stepwise": {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]},
    "scored": {"messages": [ASK, TELL], "scores": {"helpfulness": 3}},
}
FITS = {
    "preference": "--rlhf_type dpo",
    "instruction": "`swiftrl sft`",
    "text": "`swiftrl pt`",
    "labelled": "--rlhf_type kto",
    "prompt": "--rlhf_type grpo",
    "stepwise": "--rlhf_type prm",
    "scored": "--rlhf_type rm_regression",
}
SERVES = {
    ("preference", "instruction"),  # the chosen reply
    ("labelled", "instruction"),
    ("scored", "instruction"),
    ("labelled", "scored"),  # the label is a number
    *((kind, "prompt") for kind in KINDS if kind != "text"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_seen_as_what_it_is(kind):
    raw = RawRow(Origin("rows.jsonl", 7), ROWS[kind])
    assert detect_kind(raw) == kind
    to_row(raw, kind)


@pytest.mark.parametrize(
    ("given", "wanted"), [pair for pair in itertools.product(KINDS, KINDS) if len(set(pair)) == 2]
)
def test_another_kind_is_named(given, wanted):
    raw = RawRow(Origin("rows.jsonl", 7), ROWS[given])
    if (given, wanted) in SERVES:
        to_row(raw, wanted)
        return
    with pytest.raises(RowError) as caught:
        to_row(raw, wanted)
    assert str(caught.value).startswith("rows.jsonl:7: ")
    assert FITS[given] in str(caught.value)
