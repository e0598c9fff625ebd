"""Every task: rows as the data set has them, replies with known scores."""

import json

import pytest

from swiftrl.checking.programs import fenced_blocks
from swiftrl.eval.answers import chosen_letter, last_number
from swiftrl.eval.choices import as_chat, judged
from swiftrl.eval.rows import items_of
from swiftrl.eval.runner import prompt_of
from swiftrl.eval.task import TASKS
from swiftrl.eval.tasks.general_qa import rouge_l

HUMANEVAL = {
    "prompt": 'import math\n\n\ndef root(x):\n    """The root of x."""\n',
    "test": "def check(f):\n    assert f(9) == 3\n    assert f(16) == 4\n",
    "entry_point": "root",
    "canonical_solution": "    return math.sqrt(x)\n",
}
MBPP = {"text": "Double a number.", "code": "def twice(x):\n    return 2 * x",
        "test_list": ["assert twice(2) == 4", "assert twice(0) == 0", "assert twice(-1) == -2"],
        "test_setup_code": ""}  # fmt: skip
ROWS = {
    "gsm8k": {"question": "1,000 + 5 - 2?", "answer": "It is <<1000+5=1005>>1005.\n#### 1,003"},
    "humaneval": HUMANEVAL,
    "mbpp": MBPP,
    "mmlu": {"question": "2 + 2?", "choices": ["3", "4", "5", "6"], "answer": 1, "subject": "sums"},
    "cmmlu": {"Question": "天空的颜色?", "A": "红", "B": "绿", "C": "蓝", "D": "黑", "Answer": "C"},
    "ceval": {"id": 0, "question": "一加一?", "A": "1", "B": "2", "C": "3", "D": "4",
              "answer": "B"},
    "arc": {"question": "Which is hot?", "choices": {"text": ["ice", "fire"], "label": ["1", "2"]},
            "answerKey": "2"},
    "hellaswag": {"activity_label": "Baking", "ctx_a": "A man mixes dough.", "ctx_b": "he",
                  "endings": ["bakes it.", "flies [substeps] away.", "sings.", "sleeps."],
                  "label": "0"},
    "winogrande": {"sentence": "The cup fits not in the box, for _ is too big.",
                   "option1": "the cup", "option2": "the box", "answer": "1"},
    "truthfulqa": {"question": "Do seeds of a melon grow in you?",
                   "mc1_targets": {"choices": ["No.", "Yes."], "labels": [1, 0]}},
    "general_mcq": {"id": 1, "question": "Which is even?", "A": "3", "B": "4", "C": "5",
                    "answer": "B"},
    "general_qa": {"query": "Capital of France?", "response": "Paris"},
    "math_500": {"problem": "Half of $x = 1$?", "answer": "\\frac{1}{2}", "subject": "Algebra"},
    "bbh": {"input": "not ( True ) is", "target": "False"},
    "ifeval": {"key": 1, "prompt": "Write in capitals and without commas.",
               "instruction_id_list": ["change_case:english_capital",
                                       "length_constraints:number_words"],
               "kwargs": [{}, {"num_words": 2, "relation": "at least"}]},
}  # fmt: skip
RIGHT = {
    "gsm8k": "So it is 1,003.\n#### 1,003",
    "humaneval": "    return math.sqrt(x)\n",
    "mbpp": "def twice(x):\n    return x + x\n[DONE]\nmore",
    "general_qa": "Paris",
    "math_500": "So it is $\\boxed{0.5}$.",
    "bbh": "not True is False. So the answer is False.",
    "ifeval": "ALL CAPITALS HERE.",
    "mmlu": "B", "cmmlu": "答案是C", "ceval": "B. 2", "arc": "Answer: (B)", "hellaswag": "A",
    "winogrande": "A.", "truthfulqa": "The answer is A", "general_mcq": "\\boxed{B}",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in TASKS.names() if name != "builtin"])
def test_a_row_is_read_and_the_right_reply_scores_full_marks(name):
    task = TASKS.get(name)
    item = task.read(ROWS[name])
    assert item is not None
    metric = task.metric if task.kind == "generate" else "acc"
    for found, value in task.score(RIGHT[name], item).values.items():
        assert value == 1.0, found
    for wrong in ("", "I don't know.", "def twice(x):\n    return 5\n", "D"):
        assert task.score(wrong, item).values[metric] == 0.0, wrong
    # What examples show counts as right.
    shown = item.target if task.kind == "generate" else "ABCD"[item.gold]
    assert not shown or task.score(shown, item).values[metric] == 1.0


@pytest.mark.parametrize("name", [n for n in TASKS.names() if TASKS.get(n).kind == "choice"])
def test_the_likeliest_choice_is_judged(name):
    item = TASKS.get(name).read(ROWS[name])
    worst = [-9.0] * len(item.choices)
    best = worst.copy()
    best[item.gold] = -1.0
    assert judged(item, best).values == {"acc": 1.0, "acc_norm": 1.0}
    other = worst.copy()
    other[item.gold - 1] = -0.1
    assert judged(item, other).values["acc"] == 0.0


def test_likelihoods_by_character_favour_no_short_choice():
    item = TASKS.get("arc").read(
        {"question": "?", "choices": {"text": ["no", "a long answer"], "label": ["A", "B"]},
         "answerKey": "B"}
    )  # fmt: skip
    assert judged(item, [-3.0, -6.0]).values == {"acc": 0.0, "acc_norm": 1.0}


def test_gsm8k_is_read_strictly_and_loosely():
    task = TASKS.get("gsm8k")
    item = task.read(ROWS["gsm8k"])
    for reply, strict, loose in (
        ("#### 1,003", 1, 1), ("#### 1003.", 1, 1), ("it is $1,003.", 0, 1), ("1003 apples", 0, 1),
        ("#### 7 no, 1003", 0, 1), ("1003 or 12", 0, 0), ("<think>1003</think> 12", 0, 0),
    ):  # fmt: skip
        values = task.score(reply, item).values
        assert values == {"exact_match_strict": strict, "exact_match_flexible": loose}, reply
    assert last_number("It costs $-1,234.50.") == "-1234.50"


def test_programs_of_chat_models_are_found():
    task = TASKS.get("humaneval")
    item = task.read(HUMANEVAL)
    whole = "Here:\n```python\ndef root(x):\n    return math.sqrt(x)\n```\nIt takes the root."
    body = "```python\n    return math.sqrt(x)\n```"
    bad = "```python\ndef root(x):\n    return x\n```"
    early = "    import sys; sys.exit(0)\n"
    assert [task.score(r, item).values["pass@1"] for r in (whole, body, bad, early)] == [1, 1, 0, 0]
    assert fenced_blocks("no fence") == []
    assert fenced_blocks("```python\nx = 1") == ["x = 1"]


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"), ("(C) because", "C"), ("**D**", "D"), ("Answer: A", "A"),
        ("The answer is (B).", "B"), ("答案是 C", "C"), ("答案：D", "D"), ("\\boxed{A}", "A"),
        ("First A is wrong. So B", "B"), ("A cat is an animal. The answer is C", "C"),
        ("I'd choose B", "B"), ("E", None), ("", None), ("because", None),
        ("<think>A?</think>B", "B"), ("<think>A", None),
    ],
)  # fmt: skip
def test_letters(reply, letter):
    assert chosen_letter(reply, 4) == letter


def test_rouge_l_by_hand():
    # the cat sat / the cat on the mat sat: LCS "the cat sat" = 3; P 3/6, R 3/3
    assert rouge_l("the cat on the mat sat", "The cat sat.") == pytest.approx(2 * 3 / 9)
    assert rouge_l("我爱北京", "我爱上海") == pytest.approx(2 * 2 / 8)
    assert rouge_l("", "word") == 0.0


def test_prompts_with_examples():
    task = TASKS.get("mmlu")
    item = task.read(ROWS["mmlu"])
    other = task.read(ROWS["mmlu"] | {"question": "1 + 2?", "answer": 0})
    text = prompt_of(task, item, [other], chat=False)
    assert text == (
        "The following are multiple choice questions (with answers).\n\n1 + 2?\nA. 3\nB. 4\nC. 5\n"
        "D. 6\nAnswer: A\n\n2 + 2?\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer:"
    )
    arc = TASKS.get("arc").read(ROWS["arc"])
    assert as_chat(arc) == (
        "Question: Which is hot?\nAnswer:\nA. ice\nB. fire\nAnswer with the letter of the right "
        "choice:"
    )


def test_rows_come_from_the_users_files(tmp_path):
    task = TASKS.get("general_mcq")
    (tmp_path / "sums_val.csv").write_text("id,question,A,B,answer\n1,1+1?,1,2,B\n2,2+2?,4,5,A\n")
    (tmp_path / "sums_dev.csv").write_text("id,question,A,B,answer\n1,3+3?,6,2,A\n")
    found = items_of("general_mcq", task, local=tmp_path, subsets=["sums"], few_shot=1)
    assert [item.gold for item in found.asked] == [1, 0]
    assert found.asked[1].origin.endswith("sums_val.csv:3") and found.asked[0].group == "sums"
    assert [e.gold for e in found.shown_before(found.asked[0], 1)] == [0]
    limited = items_of("general_mcq", task, local=tmp_path, subsets=["sums"], limit=1)
    assert len(limited.asked) == 1


def test_what_is_wrong_with_rows_is_said(tmp_path):
    from swiftrl.core.errors import DataError

    file = tmp_path / "test.jsonl"
    task = TASKS.get("gsm8k")
    for row, message in (
        ({"question": "1?"}, r"test.jsonl:1: not a row of gsm8k: no column 'answer'"),
        ({"question": "1?", "answer": "1"}, "has no '#### NUMBER'"),
    ):
        file.write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=message):
            items_of("gsm8k", task, local=file)
    file.write_text(json.dumps(ROWS["gsm8k"]) + "\n")
    with pytest.raises(DataError, match=r"0 examples for .* 5 are to be shown"):
        items_of("gsm8k", task, local=file, few_shot=5)
    with pytest.raises(DataError, match="does not exist"):
        items_of("gsm8k", task, local=tmp_path / "none")
    with pytest.raises(DataError, match="no SUBSET_val or val"):
        items_of("general_mcq", TASKS.get("general_mcq"), local=tmp_path)
    with pytest.raises(DataError, match="no data set of its own"):
        items_of("general_mcq", TASKS.get("general_mcq"))
    with pytest.raises(ValueError, match="none of 2 choices"):
        TASKS.get("general_mcq").read({"question": "?", "A": "1", "B": "2", "answer": "C"})
