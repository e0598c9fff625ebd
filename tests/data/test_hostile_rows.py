"""Whatever a file holds, the answer is a row or a DataError, never another exception."""

import contextlib
import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftrl.core.errors import DataError
from swiftrl.data.rows import KINDS, Origin, RawRow
from swiftrl.data.schema import detect_kind, to_row
from swiftrl.data.sources import Source

COLUMNS = [
    "messages", "conversations", "conversation", "rejected_response", "rejected_messages",
    "chosen", "rejected", "prompt", "completion", "label", "margin", "instruction", "input",
    "output", "query", "response", "history", "system", "tools", "images", "videos", "objects",
    "text", "reward_model",
]  # fmt: skip
KEYS = [
    "role", "content", "from", "value", "type", "text", "image_url", "image", "url", "name",
    "arguments", "function", "tool_calls", "loss", "loss_scale", "ground_truth", "ref", "bbox",
    "user", "human", "assistant", "input_audio", "data", "reasoning_content",
]  # fmt: skip
WORDS = st.sampled_from([
    "", " ", "user", "assistant", "system", "tool", "tool_call", "function_call", "gpt", "human",
    "text", "image", "<image>", "<bbox>", "[", "[]", "[[1]]", "{", "{}", "[{}]", "null", "hello",
    '{"name": "f", "arguments": {}}', "\n\nHuman: a\n\nAssistant: b", "\ud800", "(" * 200,
])  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | WORDS | st.just(b"\x00\xff")
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)
CALLS = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]
PARTS = [
    {"type": "text", "text": "a"},
    {"type": "image_url", "image_url": {"url": "https://h/a.png"}},
    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
]
CHAT = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": PARTS, "name": "n"},
    {"role": "assistant", "content": "a", "tool_calls": CALLS, "loss": True, "loss_scale": 0.5},
    {"role": "tool_response", "content": "r", "tool_call_id": "1"},
    {"role": "user", "content": "<image><bbox>b"},
    {"role": "assistant", "content": "b", "reasoning_content": "t"},
]
SHARE = [
    {"from": "human", "value": "a"},
    {"from": "function_call", "value": '{"name": "f"}'},
    {"from": "observation", "value": "r"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
VALID = [
    {"messages": CHAT, "rejected_response": "c", "images": ["https://h/b.png"], "tools": TOOLS},
    {"messages": CHAT, "label": True, "objects": {"ref": [], "bbox": [[1, 2]]}, "image": "data:x"},
    {"conversations": SHARE, "chosen": {"from": "gpt", "value": "c"}, "rejected": "d"},
    {"conversation": [{"human": "a", "assistant": "b"}], "system": "s", "tools": json.dumps(TOOLS)},
    {"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]], "rejected": "f"},
    {"query": "a", "response": "b", "system": "s", "margin": 1, "rejected_response": "c"},
    {"prompt": CHAT[:2], "chosen": CHAT[-1:], "rejected": [{"role": "assistant", "content": "z"}]},
    {"chosen": CHAT, "rejected": [*CHAT[:-1], {"role": "assistant", "content": "z"}]},
    {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
    {"messages": CHAT, "rejected_messages": [*CHAT[:-1], {"role": "assistant", "content": "z"}]},
    {"prompt": "a", "completion": [{"role": "assistant", "content": "z"}], "label": 0},
    {"prompt": CHAT[:2], "reward_model": {"ground_truth": "1"}, "data_source": "d"},
    {"input": "a", "output": "b", "label": "1"},
    {"text": "a"},
]


@st.composite
def damaged(draw):
    """Draw a valid row with one to three places changed, dropped or added."""
    row = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        place = row
        for _ in range(draw(st.integers(0, 5))):
            inner = place.values() if isinstance(place, dict) else place
            inner = [item for item in inner if isinstance(item, dict | list)]
            if not inner:
                break
            place = draw(st.sampled_from(inner))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        if draw(st.integers(0, 3)):
            place[key] = draw(VALUES)
        else:
            del place[key]
    row.update(draw(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=1)))
    return row


@settings(deadline=None, max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(), st.sampled_from(KINDS))
def test_any_row_is_read_or_refused(values, kind):
    raw = RawRow(Origin("a.jsonl", 1), values)
    with contextlib.suppress(DataError):
        detect_kind(raw)
    with contextlib.suppress(DataError):
        assert to_row(raw, kind).origin.line == 1


def test_the_rows_that_are_damaged_are_whole():
    for values in VALID:
        raw = RawRow(Origin("a.jsonl", 1), values)
        assert to_row(raw, detect_kind(raw))


@settings(deadline=None, max_examples=150)
@given(
    st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.parquet", "a.arrow"]),
)
def test_any_file_is_read_or_refused(tmp_path_factory, data, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    source = Source(name, path)
    with contextlib.suppress(DataError):
        for record in source.records():
            with contextlib.suppress(DataError):
                source.decode(record)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_deep_nesting_is_refused(tmp_path, name):
    text = "[" * 100_000
    (tmp_path / name).write_text(('{"a": ' if name == "a.jsonl" else "[") + text)
    source = Source(name, tmp_path / name)
    with pytest.raises(DataError, match="nested too deeply"):
        for record in source.records():
            source.decode(record)


def test_a_file_cut_anywhere_gives_rows_or_an_error(tmp_path):
    rows = [{"query": "a", "response": f"{number}"} for number in range(3)]
    for text in ("\n".join(map(json.dumps, rows)), json.dumps(rows)):
        for length in range(1, len(text)):
            (tmp_path / "a.json").write_text(text[:length])
            source = Source("a.json", tmp_path / "a.json")
            seen = []
            with contextlib.suppress(DataError):
                seen += [source.decode(record).values for record in source.records()]
            assert seen == rows[: len(seen)]
