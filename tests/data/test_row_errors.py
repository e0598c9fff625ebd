"""What is said about rows that do not fit: the place, what was found, what to do."""

import json

import pytest

from swiftrl.data.rows import Origin, RawRow, RowError
from swiftrl.data.schema import detect_kind, to_row

ASK = {"role": "user", "content": "2+2?"}
TELL = {"role": "assistant", "content": "4"}
CHAT = [ASK, TELL]


def refusal(values, kind, **settings):
    with pytest.raises(RowError) as caught:
        to_row(RawRow(Origin("train.jsonl", 17), values), kind, **settings)
    assert str(caught.value).startswith("train.jsonl:17: ")
    return caught.value.reason


def test_a_labelled_row_given_to_dpo():
    assert refusal({"messages": CHAT, "label": True}, "preference") == (
        'row needs "rejected_response"; found "messages", "label". For replies labelled good or '
        "bad use --rlhf_type kto."
    )


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        ({"messages": CHAT}, "preference", "For replies without a rejected one use `swiftrl sft`."),
        (
            {"question": "a", "good": "b", "bad": "c"},
            "preference",
            """Where a column has another name: --columns '{"NAME": "rejected"}'.""",
        ),
        ({"prompt": "a"}, "preference", "Prompts without replies are for --rlhf_type grpo"),
        ({"prompt": "a", "chosen": "b"}, "preference", 'give the worse reply as "rejected".'),
        ({"text": "a"}, "preference", "For plain documents use `swiftrl pt`."),
        ({"prompt": "a", "rejected": "b"}, "preference", "a rejected reply but no chosen one"),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            "labelled",
            'row needs "label" (true or false); found "prompt", "chosen", "rejected". For pairs',
        ),
        ({"messages": CHAT}, "labelled", 'row needs "label" (true or false); found "messages".'),
        ({"messages": CHAT, "label": "good"}, "labelled", '"label" is "good"; expected true or'),
        ({"messages": CHAT, "label": 3}, "labelled", '"label" is 3; expected true or false.'),
        ({"messages": CHAT}, "text", 'row needs "text"; found "messages". For replies'),
        ({"text": "a"}, "instruction", 'row needs a conversation with a reply; found "text"'),
        ({"text": "a"}, "prompt", 'row needs a prompt; found "text".'),
        ({"text": "  "}, "text", '"text" is empty'),
        ({"text": 5}, "text", '"text" is 5; expected text.'),
        ({"prompt": "a"}, "instruction", 'row has no reply; found "prompt". It must end with'),
        (
            {"messages": [*CHAT, ASK]},
            "instruction",
            'row has no reply; found "messages", and the last message is from "user".',
        ),
        ({"messages": [TELL]}, "instruction", 'no message has the role "user"'),
        ({"messages": [TELL]}, "prompt", "there is no message before the reply"),
        ({"messages": []}, "instruction", 'row has no reply; found "messages".'),
        ({"a": 1, "b": 2}, "text", 'the row\'s columns are "a", "b", which fit no known format'),
        ({}, "text", "the row's columns are (none)"),
    ],
)
def test_rows_of_another_kind(values, kind, says):
    assert says in refusal(values, kind)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "the same, so the row teaches nothing"),
        ({"prompt": "a", "chosen": "", "rejected": "b"}, '"chosen" is empty; give it text'),
        ({"prompt": "a", "chosen": "b", "rejected": " \n"}, '"rejected" is empty'),
        (
            {"prompt": "a", "chosen": "b", "rejected": 5},
            '"rejected" is 5; expected text, a message',
        ),
        ({"prompt": "a", "chosen": "b", "rejected": ["c", "d"]}, '"rejected" is ["c", "d"]'),
        ({"prompt": " ", "chosen": "b", "rejected": "c"}, "messages[0] (user) is empty"),
        ({"prompt": 7, "chosen": "b", "rejected": "c"}, '"prompt" is 7; expected text.'),
        (
            {"chosen": "b", "rejected": "c"},
            'row has "chosen" and "rejected" but no "prompt", and "chosen" is "b"',
        ),
        (
            {"chosen": CHAT, "rejected": [{"role": "user", "content": "3+3?"}, TELL]},
            "the chosen and the rejected conversation begin differently",
        ),
        (
            {"prompt": "other", "chosen": CHAT, "rejected": CHAT},
            '"chosen" begins with a user message that differs from "prompt"',
        ),
        (
            {"messages": CHAT, "chosen": "b", "rejected": "c"},
            "the conversation before the reply ends with the assistant",
        ),
        (
            {"messages": CHAT, "rejected_response": [TELL, ASK]},
            "the rejected reply ends with user; it must end with the assistant.",
        ),
        ({"messages": [TELL], "rejected_response": "5"}, "there is no message before the reply"),
        (
            {"messages": CHAT, "rejected_response": "5", "rejected_images": ["a.png"]},
            '"rejected_images" cannot be used: both replies answer one prompt',
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c", "margin": "wide"},
            '"margin" is "wide"; expected a number.',
        ),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c", "margin": float("nan")},
            '"margin" is NaN',
        ),
    ],
)
def test_pairs_that_are_no_pairs(values, says):
    assert says in refusal(values, "preference")


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ("hello", '"messages" is the text "hello"; expected a list, or a list written as JSON.'),
        ({"role": "user"}, '"messages" is {"role": "user"}; expected a list.'),
        (["hi", TELL], 'messages[0] is "hi"; expected an object with "role" and "content".'),
        ([{"speaker": "x"}, TELL], 'messages[0] has the keys speaker; expected "role"'),
        (
            [{"role": "asistant", "content": "x"}, TELL],
            'messages[0] has the role "asistant"; expected system, user, assistant, tool_call, '
            "tool_response or tool (ShareGPT: human, gpt, function_call, observation). Did you "
            "mean 'assistant'?",
        ),
        ([{"role": 3, "content": "x"}, TELL], "messages[0] has the role 3"),
        ([{"role": "user", "content": 4}, TELL], "messages[0].content is 4; expected text or a"),
        ([ASK, {"role": "assistant", "content": ""}], "messages[1] (assistant) is empty"),
        ([ASK, {**TELL, "loss": "yes"}], 'messages[1].loss is "yes"; expected true or false.'),
        ([ASK, {**TELL, "loss_scale": -1}], "messages[1].loss_scale is -1; expected a number >= 0"),
        ([ASK, {**TELL, "name": 4}], "messages[1].name is 4; expected text."),
        (
            [{"role": "user", "content": [{"text": "a"}]}, TELL],
            'messages[0].content[0] is {"text": "a"}; expected an object with "type".',
        ),
        (
            [{"role": "user", "content": [{"type": "pdf"}]}, TELL],
            'messages[0].content[0].type is "pdf"; expected text, image',
        ),
        (
            [{"role": "user", "content": [{"type": "text"}]}, TELL],
            "messages[0].content[0].text is null; expected text.",
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio"}]}, TELL],
            'input_audio needs "data" (base64) and "format".',
        ),
        (
            [ASK, {"role": "tool_call", "content": "{broken"}, TELL],
            'messages[1].content is the text "{broken", which is not JSON',
        ),
        (
            [ASK, {"role": "tool_call", "content": '{"arguments": {}}'}, TELL],
            'expected {"name": ..., "arguments": {...}}.',
        ),
        (
            [ASK, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": 5}]}],
            "messages[1].tool_calls[0].arguments is 5; expected an object.",
        ),
    ],
)
def test_broken_messages(messages, says):
    assert says in refusal({"messages": messages}, "instruction")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"images": ["no.png"]}, 'image "no.png" does not exist (sought in . and the current'),
        ({"images": []}, 'the text has more <image> tags than "images" has entries (0).'),
        (
            {"images": ["https://h/1.png", "https://h/2.png"]},
            '"images" has 2 entries, but the messages have 1 <image> tags',
        ),
        ({"images": [5]}, "image 5 is no path, address or bytes."),
        ({"tools": 5}, '"tools" is 5; expected a list of function descriptions.'),
        ({"tools": [5]}, '"tools"[0] is 5; expected a function description.'),
        ({"tools": [{"x": 1}]}, 'a function description needs "name".'),
        ({"tools": "[{"}, '"tools" is the text "[{", which is not JSON'),
        ({"objects": [1]}, '"objects" is [1]; expected {"ref": [...], "bbox": [...]}.'),
        ({"objects": {"bbox": []}}, "more <bbox> tags than objects.bbox has entries (0)."),
        ({"objects": {"bbox": [[1], [2]]}}, "objects.bbox has 2 entries, but the text has 1"),
    ],
)
def test_broken_media_tools_and_objects(columns, says):
    chat = [{"role": "user", "content": "<image><bbox>"}, TELL]
    assert says in refusal({"messages": chat, **columns}, "instruction")


def test_history_must_be_pairs():
    values = {"query": "a", "response": "b", "history": [["only a question"]]}
    assert 'history[0] is ["only a question"]; expected [query, response].' in refusal(
        values, "instruction"
    )


def test_renaming_to_a_column_that_exists_or_from_one_that_does_not():
    values = {"q": "a", "query": "b", "response": "c"}
    assert 'renames "q" to "query", but the row has a column "query" already' in refusal(
        values, "instruction", columns={"q": "query"}
    )
    reason = refusal({"question_text": "a"}, "prompt", columns={"questionText": "query"})
    assert reason.endswith('(--columns names "questionText", which the row lacks.)')


def test_long_values_are_cut_in_messages():
    reason = refusal({"messages": ["x" * 1000]}, "instruction")
    assert len(reason) < 200


def test_a_row_without_a_format_has_no_kind_either():
    with pytest.raises(RowError, match=r"^f:3: the row's columns"):
        detect_kind(RawRow(Origin("f", 3), {"x": json.dumps(1)}))
