"""Every row format, read as every kind it serves."""

import json

import pytest

from swiftrl.data.rows import Origin, RawRow
from swiftrl.data.schema import FORMATS, detect_format, detect_kind, to_row

U, A, S, T = "user", "assistant", "system", "tool"


def raw(values, source="train.jsonl"):
    return RawRow(Origin(source, 17), values)


def turns(messages):
    return [(message.role, message.content) for message in messages]


def said(*pairs, keys=("role", "content")):
    return [dict(zip(keys, pair, strict=True)) for pair in pairs]


def pair_of(values, **settings):
    row = to_row(raw(values), "preference", **settings)
    return turns(row.conversation.messages), turns(row.chosen), turns(row.rejected)


ASKED = [(U, "2+2?")]
GOOD, BAD = [(A, "4")], [(A, "5")]
MESSAGES = said((U, "2+2?"), (A, "4"))
HH = "\n\nHuman: 2+2?\n\nAssistant: {}"

PREFERENCES = {
    "messages + rejected_response": ("messages", {"messages": MESSAGES, "rejected_response": "5"}),
    "messages + rejected message": (
        "messages",
        {"messages": MESSAGES, "rejected_response": {"role": "assistant", "content": "5"}},
    ),
    "messages + rejected_messages": (
        "messages",
        {"messages": MESSAGES, "rejected_messages": said((U, "2+2?"), (A, "5"))},
    ),
    "messages + chosen, rejected": (
        "messages",
        {
            "messages": said((U, "2+2?")),
            "chosen": {"role": "assistant", "content": "4"},
            "rejected": "5",
        },
    ),
    "sharegpt ranking": (
        "sharegpt",
        {
            "conversations": said(("human", "2+2?"), keys=("from", "value")),
            "chosen": {"from": "gpt", "value": "4"},
            "rejected": {"from": "gpt", "value": "5"},
        },
    ),
    "alpaca ranking": ("alpaca", {"instruction": "2+2?", "chosen": "4", "rejected": "5"}),
    "query, response": (
        "query_response",
        {"query": "2+2?", "response": "4", "rejected_response": "5"},
    ),
    "TRL, explicit prompt": ("preference", {"prompt": "2+2?", "chosen": "4", "rejected": "5"}),
    "TRL, conversational": (
        "preference",
        {
            "prompt": said((U, "2+2?")),
            "chosen": said((A, "4")),
            "rejected": said((A, "5")),
        },
    ),
    "TRL, conversational with implicit prompt": (
        "preference",
        {"chosen": MESSAGES, "rejected": said((U, "2+2?"), (A, "5"))},
    ),
    "prompt as text, replies as whole conversations": (
        "preference",
        {
            "prompt": "2+2?",
            "prompt_id": "x",
            "messages": MESSAGES,
            "chosen": MESSAGES,
            "rejected": said((U, "2+2?"), (A, "5")),
        },
    ),
    "Anthropic's dialogues": (
        "preference",
        {"chosen": HH.format("4"), "rejected": HH.format("5")},
    ),
    "question, chosen, rejected": (
        "preference",
        {"question": "2+2?", "chosen": "4", "rejected": "5"},
    ),
    "OpenRLHF's input, chosen, rejected": (
        "preference",
        {"input": "2+2?", "chosen": "4", "rejected": "5"},
    ),
    "lists as JSON text (CSV)": (
        "preference",
        {
            "chosen": json.dumps(MESSAGES),
            "rejected": json.dumps(said((U, "2+2?"), (A, "5"))),
        },
    ),
}


@pytest.mark.parametrize(("name", "values"), PREFERENCES.values(), ids=PREFERENCES)
def test_preference_rows_of_every_form_are_one_pair(name, values):
    assert detect_format(values) == name
    assert detect_kind(raw(values)) == "preference"
    assert pair_of(values) == (ASKED, GOOD, BAD)
    instruction = to_row(raw(values), "instruction")
    assert turns(instruction.conversation.messages) == ASKED + GOOD


REPLIES = {
    "messages": {"messages": MESSAGES},
    "messages as JSON text": {"messages": json.dumps(MESSAGES)},
    "messages as Python text": {"messages": repr(MESSAGES)},
    "conversations": {
        "conversations": said(("human", "2+2?"), ("gpt", "4"), keys=("from", "value"))
    },
    "conversation of pairs": {"conversation": [{"human": "2+2?", "assistant": "4"}]},
    "alpaca": {"instruction": "2+2?", "input": "", "output": "4"},
    "query": {"query": "2+2?", "response": "4"},
    "question": {"question": "2+2?", "answer": "4"},
    "problem": {"problem": "2+2?", "solution": "4"},
    "TRL": {"prompt": "2+2?", "completion": "4"},
    "TRL, conversational": {
        "prompt": said((U, "2+2?")),
        "completion": said((A, "4")),
    },
    "prompt and response": {"prompt": "2+2?", "response": "4"},
    "OpenRLHF": {"input": "2+2?", "output": "4"},
}


@pytest.mark.parametrize("values", REPLIES.values(), ids=REPLIES)
def test_rows_with_a_reply_serve_as_instruction_labelled_reply_and_prompt(values):
    assert detect_kind(raw(values)) == "instruction"
    row = to_row(raw(values), "instruction")
    assert turns(row.conversation.messages) == ASKED + GOOD
    assert row.extra == {}

    labelled = {**values, "label": False}
    assert detect_kind(raw(labelled)) == "labelled"
    row = to_row(raw(labelled), "labelled")
    assert turns(row.conversation.messages) == ASKED + GOOD
    assert (row.label, row.extra) == (False, {})

    row = to_row(raw(values), "prompt")
    assert turns(row.conversation.messages) == ASKED
    assert list(row.extra.values()) in (["4"], [said((A, "4"))])


def test_the_names_of_formats_are_their_files():
    assert FORMATS.names() == [
        "alpaca",
        "messages",
        "openrlhf",
        "preference",
        "prompt_completion",
        "query_response",
        "sharegpt",
        "stepwise",
        "text",
        "verl",
    ]


def test_history_and_system_come_before_the_question():
    values = {
        "system": "Be brief.",
        "history": [["1+1?", "2"]],
        "query": "2+2?",
        "response": "4",
        "source": "book",
    }
    row = to_row(raw(values), "instruction")
    assert turns(row.conversation.messages) == [
        (S, "Be brief."),
        (U, "1+1?"),
        (A, "2"),
        *ASKED,
        *GOOD,
    ]
    assert row.extra == {"source": "book"}


def test_a_system_column_does_not_double_the_conversations_own():
    values = {"system": "column", "messages": [*said((S, "own")), *MESSAGES]}
    row = to_row(raw(values), "instruction")
    assert turns(row.conversation.messages)[0] == (S, "own")
    assert sum(message.role == S for message in row.conversation.messages) == 1


def test_instruction_and_input_are_joined():
    row = to_row(raw({"instruction": "Add.", "input": "2 2", "output": "4"}), "instruction")
    assert turns(row.conversation.messages) == [(U, "Add.\n2 2"), *GOOD]


def test_plain_text_from_a_column_or_a_lone_assistant_message():
    assert to_row(raw({"text": "Once.", "source": "x"}), "text").text == "Once."
    assert to_row(raw({"text": "Once.", "source": "x"}), "text").extra == {"source": "x"}
    assert to_row(raw({"messages": said((A, "Once."))}), "text").text == "Once."


def test_verl_gives_its_ground_truth_to_rewards():
    values = {
        "data_source": "gsm8k",
        "prompt": said((U, "2+2?")),
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "4"},
        "extra_info": {"index": 0},
    }
    assert detect_format(values) == "verl"
    row = to_row(raw(values), "prompt")
    assert turns(row.conversation.messages) == ASKED
    assert row.extra["ground_truth"] == "4"
    assert row.extra["data_source"] == "gsm8k"
    assert row.extra["extra_info"] == {"index": 0}


def test_openrlhf_prompts_keep_their_answer():
    row = to_row(raw({"input": said((U, "2+2?")), "label": "4"}), "prompt")
    assert turns(row.conversation.messages) == ASKED
    assert row.extra == {"label": "4"}


def test_columns_are_renamed():
    columns = {"Q": "query", "A": "response", "B": "rejected_response"}
    assert pair_of({"Q": "2+2?", "A": "4", "B": "5"}, columns=columns) == (ASKED, GOOD, BAD)


def test_the_margin_is_a_number_and_the_rest_is_extra():
    row = to_row(
        raw({"prompt": "a", "chosen": "b", "rejected": "c", "margin": "1.5", "score_chosen": 9}),
        "preference",
    )
    assert (row.margin, row.extra) == (1.5, {"score_chosen": 9})
