import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftrl.engine.detokenize import Detokenizer

TOKENIZER = tiny_models.make_tokenizer()


def pieces(ids, stop=()) -> tuple[list[str], Detokenizer]:
    text = Detokenizer(TOKENIZER, stop)
    shown = [text.push(token) for token in ids]
    return [*shown, text.finish()], text


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_pieces_join_to_the_whole(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert "".join(pieces(ids)[0]) == TOKENIZER.decode(ids, skip_special_tokens=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(3, 299), max_size=20))
def test_pieces_of_broken_characters_join_to_the_whole(ids):
    assert "".join(pieces(ids)[0]) == TOKENIZER.decode(ids, skip_special_tokens=True)


@settings(max_examples=200, deadline=None)
@given(st.text("ab ", max_size=30), st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1))
def test_stop_texts_never_show(text, stops):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    shown, state = pieces(ids, stops)
    # The stop text that is complete first wins, whatever the tokens' borders.
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert "".join(shown) == state.text == (text[: min(found)[1]] if found else text)
    assert state.stopped == bool(found)


def test_half_a_character_is_held_back():
    ids = TOKENIZER.encode("龘", add_special_tokens=False)
    assert len(ids) == 3
    assert pieces(ids)[0] == ["", "", "龘", ""]


def test_what_may_begin_a_stop_text_is_held_back():
    ids = [TOKENIZER.encode(letter)[0] for letter in "xaay"]
    assert pieces(ids, ["aab"])[0] == ["x", "", "", "aay", ""]
