"""Tool calls, weights and media in messages, in every spelling."""

import json

import pytest

from swiftrl.core.messages import Message, Part, ToolCall
from swiftrl.data.rows import Origin, RawRow
from swiftrl.data.schema import to_row

U, A, T = "user", "assistant", "tool"


def raw(values, source="train.jsonl"):
    return RawRow(Origin(source, 17), values)


def turns(messages):
    return [(message.role, message.content) for message in messages]


def said(*pairs, keys=("role", "content")):
    return [dict(zip(keys, pair, strict=True)) for pair in pairs]


ASKED = [(U, "2+2?")]
GOOD, BAD = [(A, "4")], [(A, "5")]

CALL = {"name": "add", "arguments": {"a": 2}}
TOOL = {"name": "add", "parameters": {"type": "object"}}


@pytest.mark.parametrize(
    "messages",
    [
        said((U, "2+2?"), ("tool_call", json.dumps(CALL)), ("tool_response", "4"), (A, "4")),
        said((U, "2+2?"), ("function_call", json.dumps([CALL])), ("observation", "4"), (A, "4")),
        [
            {"role": U, "content": "2+2?"},
            {
                "role": A,
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "add", "arguments": '{"a": 2}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "4"},
            {"role": A, "content": "4"},
        ],
    ],
    ids=["swift", "sharegpt", "openai"],
)
@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [json.dumps(TOOL)]])
def test_tool_calls_in_every_spelling(messages, tools):
    row = to_row(raw({"messages": messages, "tools": tools}), "instruction")
    call = row.conversation.messages[1]
    assert (call.role, call.content) == (A, "")
    assert [(item.name, item.arguments) for item in call.tool_calls] == [("add", {"a": 2})]
    assert turns(row.conversation.messages)[2:] == [(T, "4"), (A, "4")]
    assert row.conversation.tools == ({"type": "function", "function": TOOL},)


def test_calls_join_the_words_before_them_unless_they_weigh_differently():
    spoken = {"role": "assistant", "content": "Let me see."}
    call = {"role": "tool_call", "content": json.dumps(CALL)}
    row = to_row(raw({"messages": [*said((U, "a")), spoken, call, call]}), "instruction")
    expected = Message(A, "Let me see.", tool_calls=(ToolCall("add", {"a": 2}),) * 2)
    assert row.conversation.messages[1:] == (expected,)

    apart = [*said((U, "a")), {**spoken, "loss": False}, call]
    row = to_row(raw({"messages": apart}), "instruction")
    assert [message.loss for message in row.conversation.messages] == [None, False, None]


def test_a_rejected_reply_with_a_call_replaces_all_after_the_user():
    messages = said((U, "2+2?"), ("tool_call", json.dumps(CALL)), ("tool", "4"), (A, "4"))
    rejected = [{"role": "tool_call", "content": json.dumps(CALL)}, *said((T, "5"), (A, "5"))]
    row = to_row(raw({"messages": messages, "rejected_response": rejected}), "preference")
    assert turns(row.conversation.messages) == ASKED
    assert turns(row.chosen)[1:] == [(T, "4"), (A, "4")]
    assert turns(row.rejected)[1:] == [(T, "5"), (A, "5")]

    row = to_row(raw({"messages": messages, "rejected_response": "5"}), "preference")
    assert turns(row.conversation.messages)[-1] == (T, "4")
    assert (turns(row.chosen), turns(row.rejected)) == (GOOD, BAD)


def test_weights_thoughts_and_names_reach_the_messages():
    messages = [
        {"role": "user", "content": "a", "name": "Ann"},
        {"role": "assistant", "content": "b", "loss": 0, "reasoning_content": "hm"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "weight": 1, "loss_scale": 2},
    ]
    first, second, _, last = to_row(
        raw({"messages": messages}), "instruction"
    ).conversation.messages
    assert first.name == "Ann"
    assert (second.loss, second.reasoning_content) == (False, "hm")
    assert (last.loss, last.loss_scale) == (True, 2.0)


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"png")
    return tmp_path


def seen(values, folder, kind="instruction"):
    row = to_row(raw(values, str(folder / "train.jsonl")), kind)
    return [message.content for message in row.conversation.messages]


def test_media_tags_take_the_media_in_order(pictures):
    values = {
        "messages": said((U, "<image>left, right<image>"), (A, "ok")),
        "images": ["a.png", {"path": "b.png"}],
    }
    assert seen(values, pictures)[0] == (
        Part("image", source=str(pictures / "a.png")),
        Part("text", text="left, right"),
        Part("image", source=str(pictures / "b.png")),
    )


def test_media_without_tags_go_before_the_first_question(pictures):
    values = {"query": "What?", "response": "ok", "image": "a.png"}
    assert seen(values, pictures)[0] == (
        Part("image", source=str(pictures / "a.png")),
        Part("text", text="What?"),
    )


def test_parts_in_openais_and_hugging_faces_form(pictures):
    content = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://host/x.png"}},
        {"type": "image", "image": "data:image/png;base64,AA"},
        {"type": "image"},
        {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
    ]
    values = {
        "messages": [{"role": "user", "content": content}, *said((A, "ok"))],
        "images": [{"bytes": b"raw"}],
    }
    assert [part.source for part in seen(values, pictures)[0]] == [
        None,
        "https://host/x.png",
        "data:image/png;base64,AA",
        b"raw",
        "data:audio/mp3;base64,AA",
    ]


def test_tags_without_a_media_column_and_text_parts_alone_are_text(pictures):
    values = {"query": "Write an <image> tag", "response": "<image>"}
    assert seen(values, pictures) == ["Write an <image> tag", "<image>"]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    values = {"messages": [{"role": "user", "content": parts}, *said((A, "c"))]}
    assert seen(values, pictures) == ["ab", "c"]


def test_a_pair_shares_its_pictures(pictures):
    values = {"prompt": "<image>What?", "chosen": "4", "rejected": "5", "images": ["a.png"]}
    assert len(seen(values, pictures, "preference")[0]) == 2


def test_grounding_tags_are_filled_from_objects(pictures):
    values = {
        "messages": said((U, "Find <ref-object>"), (A, "<bbox> and <bbox>")),
        "objects": {"ref": ["a cat"], "bbox": [[1, 2, 3, 4], [5, 6, 7, 8]]},
    }
    assert seen(values, pictures) == ["Find a cat", "[1, 2, 3, 4] and [5, 6, 7, 8]"]
