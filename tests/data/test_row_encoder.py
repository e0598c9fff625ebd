"""Rows of each kind, through a template, to weighted tokens."""

import pytest
import tiny_models

from swiftrl.data.row_encoder import TemplateRowEncoder
from swiftrl.data.rows import Origin, RawRow, RowError
from swiftrl.templates.template import Template

TEMPLATE = Template.load(tiny_models.make_tokenizer())


def encoder(kind, **settings):
    return TemplateRowEncoder(TEMPLATE, kind, **settings)


def encoded(values, kind, **settings):
    return encoder(kind, **settings)(RawRow(Origin("a.jsonl", 3), values))


PAIR = {"prompt": "Question 1?", "chosen": "good 1", "rejected": "bad"}


def test_each_kind_has_its_sequences_columns_and_weights():
    (row,) = encoded({**PAIR, "margin": 2}, "preference")
    assert row.columns == {"margin": 2.0}
    good, bad = row.sequences
    prompt = TEMPLATE.decode(good.token_ids[: good.first_trained])
    assert prompt == TEMPLATE.decode(bad.token_ids[: bad.first_trained])
    assert prompt.endswith("Question 1?<|im_end|>\n<|im_start|>assistant\n")
    assert TEMPLATE.decode(good.token_ids[good.first_trained :]).startswith("good 1<|im_end|>")
    assert row.num_tokens == len(good) + len(bad) - good.first_trained

    (row,) = encoded({"prompt": "a", "completion": "b", "label": False}, "labelled")
    assert (row.columns, len(row.sequences)) == ({"label": 0.0}, 1)

    (row,) = encoded({"text": "hello"}, "text")
    assert row.sequences[0].loss_weights.tolist() == [0] + [1] * (len(row.sequences[0]) - 1)

    (row,) = encoded({"prompt": "a", "answer": "b"}, "prompt")
    assert row.sequences[0].num_trained == 0
    assert TEMPLATE.decode(row.sequences[0].token_ids).endswith("<|im_start|>assistant\n")


TURNS = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


def trained_text(row):
    (sequence,) = row.sequences
    return TEMPLATE.decode(sequence.token_ids[sequence.loss_weights > 0])


def test_which_turns_of_an_instruction_train():
    (row,) = encoded({"messages": TURNS}, "instruction")
    assert trained_text(row) == "two<|im_end|>four<|im_end|>"
    (row,) = encoded({"messages": TURNS}, "instruction", train="last_round")
    assert trained_text(row) == "four<|im_end|>"
    (row,) = encoded({"messages": TURNS, "label": 1}, "labelled")
    assert trained_text(row) == "four<|im_end|>"


def test_rows_without_a_trained_token_are_refused():
    silent = [TURNS[0], {**TURNS[1], "loss": False}]
    with pytest.raises(RowError, match=r"^a\.jsonl:3: no assistant turn to train"):
        encoded({"messages": silent}, "instruction")


def test_too_long_rows_raise_or_are_cut_or_split():
    text = {"text": "one two three four five six seven eight nine ten"}
    whole = encoded(text, "text")[0].sequences[0]
    with pytest.raises(RowError) as caught:
        encoded(text, "text", max_length=5)
    assert caught.value.reason == (
        f"the row is {len(whole)} tokens long; max_length is 5. Raise --max_length, or choose "
        "--truncation_strategy delete, left or right. swiftrl data check shows how long the rows "
        "are."
    )
    (cut,) = encoded(text, "text", max_length=5, truncation_strategy="right")
    assert cut.sequences[0].token_ids.tolist() == whole.token_ids[:5].tolist()
    assert cut.sequences[0].truncated
    (cut,) = encoded(text, "text", max_length=5, truncation_strategy="left")
    assert cut.sequences[0].token_ids.tolist() == whole.token_ids[-5:].tolist()
    parts = encoded(text, "text", max_length=5, truncation_strategy="split")
    assert sum(part.sequences[0].num_trained for part in parts) == len(whole) - 1
    long = {"prompt": "a b c d " * 10, "chosen": "x", "rejected": "y"}
    (row,) = encoded(long, "preference", max_length=20, truncation_strategy="left")
    assert [len(item) for item in row.sequences] == [20, 20]
    with pytest.raises(RowError, match="only plain text can be split"):
        encoded({"messages": TURNS}, "instruction", max_length=5, truncation_strategy="split")


def test_the_fingerprint_follows_every_setting():
    base = encoder("instruction", max_length=9)
    others = [
        encoder("labelled", max_length=9),
        encoder("instruction", max_length=8),
        encoder("instruction", max_length=9, truncation_strategy="left"),
        encoder("instruction", max_length=9, columns={"a": "b"}),
        encoder("instruction", max_length=9, train="last_round"),
    ]
    marks = {item.fingerprint for item in (base, *others)}
    assert len(marks) == 6
    assert encoder("instruction", max_length=9).fingerprint == base.fingerprint
