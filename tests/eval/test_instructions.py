"""Every instruction of IFEval: a reply that follows it and one that just does not."""

import pytest

from swiftrl.eval.instructions import CHECKS, followed, loose_forms
from swiftrl.eval.task import TASKS

CASES = [
    ("keywords:existence", {"keywords": ["sun", "moon"]}, "The Moon and the sun.", "The sun."),
    ("keywords:frequency", {"keyword": "sun", "frequency": 2, "relation": "at least"},
     "Sun, sun.", "Sun."),
    ("keywords:frequency", {"keyword": "sun", "frequency": 2, "relation": "less than"},
     "Sun.", "Sun, sun."),
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "The train came.", "Rain came."),
    ("keywords:letter_frequency",
     {"letter": "Q", "let_frequency": 2, "let_relation": "at least"}, "qQ", "q"),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"},
     "One. Two!", "One. Two! Three?"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n***\n***\nb"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "a b c", "a b"),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
     "One.\n\nThen two.", "Then one.\n\nTwo."),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [town]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. Write.", "Bye."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S Go", "P.S. Go"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n* b", "* a\n* b\n- c"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2},
     "*a* and **b**", "*a* and ** **"),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2},
     "Section 1\na\nSection 2\nb", "Section 1\na"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<A day>>\nIt rained.", "<< >> It rained."),
    ("combination:two_responses", {}, "a\n******\nb", "a\n******\na"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Why?"}, "Why? Because.", "Because."),
    ("startend:end_checker", {"end_phrase": "The end."}, "So it was. The end.", "The end. Or?"),
    ("startend:quotation", {}, '"All of it"', '"Half" of it'),
    ("change_case:capital_word_frequency",
     {"capital_frequency": 2, "capital_relation": "less than"}, "One WORD", "TWO WORDS"),
    ("change_case:english_capital", {}, "ALL OF IT", "All of it"),
    ("change_case:english_lowercase", {}, "all of it", "All of it"),
    ("punctuation:no_comma", {}, "No marks.", "One, two."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "told", "good", "bad"), CASES)
def test_an_instruction_is_followed_or_not(name, told, good, bad):
    assert followed(name, good, told | {"unused": None})
    assert not followed(name, bad, told)
    assert not followed(name, " ", told)


def test_every_instruction_has_a_case():
    assert {name for name, *_ in CASES} == set(CHECKS)


def test_loose_forms_forgive_what_stands_around():
    task = TASKS.get("ifeval")
    item = task.read({"prompt": "Write small.", "instruction_id_list":
                      ["change_case:english_lowercase"], "kwargs": [{}]})  # fmt: skip
    values = task.score("Here it is:\nall small", item).values
    assert values["prompt_strict"] == 0 and values["prompt_loose"] == 1
    assert len(loose_forms("a\n*b*\nc")) == 8


def test_rows_that_cannot_be_checked():
    task = TASKS.get("ifeval")
    language = {"prompt": "In Thai.", "instruction_id_list": ["language:response_language"],
                "kwargs": [{"language": "th"}]}  # fmt: skip
    assert task.read(language) is None
    with pytest.raises(ValueError, match="is not known"):
        task.read({"prompt": "", "instruction_id_list": ["a:b"], "kwargs": [{}]})
    with pytest.raises(ValueError, match="keywords:existence"):
        task.read({"prompt": "", "instruction_id_list": ["keywords:existence"], "kwargs": [{}]})
