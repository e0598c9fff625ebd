import json

import pytest
import tiny_models

from swiftrl.core.messages import Conversation, Message
from swiftrl.data.row_encoder import TemplateRowEncoder
from swiftrl.data.rows import Origin, RawRow
from swiftrl.engine.base import Chunk, Completion
from swiftrl.engine.batch import Question, answer_all
from swiftrl.engine.chat import Chat
from swiftrl.engine.config import GenerationConfig, sampling_params
from swiftrl.engine.sampling import SamplingParams
from swiftrl.engine.transformers import TransformersEngine
from swiftrl.templates.source import TemplateOptions
from swiftrl.templates.template import Template

TOKENIZER = tiny_models.make_tokenizer()
SAMPLING = SamplingParams(seed=1, max_tokens=8)


class Parrot:
    """An engine that repeats its prompt's text between brackets."""

    policy_version = 0

    def __init__(self):
        self.prompts, self.seeds = [], []
        self.interrupt = False

    def check_prompt(self, prompt):
        pass

    def stream(self, prompt, sampling, media=None):
        text = TOKENIZER.decode(prompt)
        self.prompts.append(text)
        self.seeds.append(sampling.seed)
        yield Chunk("[ec", (1,))
        if self.interrupt:
            raise KeyboardInterrupt
        reply = f"[echo {len(self.prompts)}]"
        yield Chunk(reply[3:], (2,), Completion((1, 2), (0.0, 0.0), reply, "stop"))


@pytest.fixture
def template():
    return Template.load(TOKENIZER)


def talk(template, lines, engine=None, **options) -> tuple[str, Chat]:
    shown: list[str] = []
    waiting = iter(lines)

    def read(prompt):
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    engine = engine or Parrot()
    chat = Chat(engine, template, SAMPLING, read=read, write=shown.append, **options)
    chat.run()
    return "".join(shown), chat


def roles(chat) -> list[str]:
    return [message.role for message in chat.messages]


def test_each_turn_sees_the_conversation_so_far(template):
    shown, chat = talk(template, ["hello", "again"], system="Be kind.")
    assert "[echo 1]" in shown and "[echo 2]" in shown
    first, second = chat.engine.prompts
    assert "Be kind." in first and "hello" in first
    assert second.startswith(first) and "[echo 1]" in second and "again" in second
    assert roles(chat) == ["user", "assistant"] * 2
    assert len(set(chat.engine.seeds)) == 2


def test_several_lines_and_leading_slashes(template):
    _, chat = talk(template, ['"""one', "two", 'three"""', "//usr is a folder", '"""x"""'])
    questions = [message.content for message in chat.messages if message.role == "user"]
    assert questions == ["one\ntwo\nthree", "/usr is a folder", "x"]


@pytest.mark.parametrize("leave", ["/exit", "/quit", "exit", "quit"])
def test_leaving(template, leave):
    _, chat = talk(template, ["hello", leave, "never sent"])
    assert len(chat.engine.prompts) == 1


def test_clear_system_undo_retry(template):
    _, chat = talk(template, ["hello", "/clear", "more"])
    assert "hello" not in chat.engine.prompts[1]
    _, chat = talk(template, ["hello", "/system Answer in French.", "more"])
    assert "Answer in French." in chat.engine.prompts[1] and "hello" not in chat.engine.prompts[1]
    _, chat = talk(template, ["hello", "more", "/undo"])
    assert roles(chat) == ["user", "assistant"]
    _, chat = talk(template, ["hello", "/retry"])
    assert chat.engine.prompts[0] == chat.engine.prompts[1]
    assert chat.engine.seeds[0] != chat.engine.seeds[1]
    assert roles(chat) == ["user", "assistant"]


def test_set(template):
    shown, chat = talk(template, ["/set temperature 0.5", "/set max_tokens 3", "/set top_p 9"])
    assert (chat.sampling.temperature, chat.sampling.max_tokens) == (0.5, 3)
    assert "top_p 9.0: expected in (0, 1]" in shown
    assert "Did you mean 'temperature'" in talk(template, ["/set temprature 1"])[0]
    assert "expected a number" in talk(template, ["/set seed x"])[0]


def test_mistakes_are_told_and_the_chat_goes_on(template):
    shown, chat = talk(template, ["/claer", "/undo", "/retry", "/save", "hello"])
    assert "Did you mean 'clear'" in shown
    assert shown.count("the conversation is empty") == 2
    assert roles(chat) == ["user", "assistant"]


def test_interrupting_a_reply_forgets_the_turn(template):
    engine = Parrot()
    engine.interrupt = True
    shown, chat = talk(template, ["hello"], engine)
    assert "interrupted" in shown
    assert chat.messages == []


def test_saving_appends_rows_that_train(template, tmp_path):
    file = tmp_path / "chats.jsonl"
    talk(template, ["hello", f"/save {file}"], system="S")
    talk(template, ["again", f"/save {file}"])
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == ["[echo 1]"] * 2
    assert rows[0]["messages"][0] == {"role": "system", "content": "S"}


def test_help_lists_every_command(template):
    shown, chat = talk(template, ["/help"])
    assert all(f"/{name}" in shown for name in chat._commands)


def test_a_prefix_begins_every_reply():
    template = Template.load(TOKENIZER, options=TemplateOptions(response_prefix="Well: "))
    shown, chat = talk(template, ["hello"])
    assert "Well: [echo 1]" in shown
    assert chat.messages[-1].content == "Well: [echo 1]"
    assert chat.engine.prompts[0].endswith("Well: ")


@pytest.fixture(scope="module")
def engine():
    return TransformersEngine(tiny_models.make_model(), TOKENIZER)


def test_chat_with_a_model_survives_a_full_context(template, engine):
    shown, chat = talk(template, ["hello", "word " * 300, "hello"], engine)
    assert "leaves no room for a reply" in shown
    assert roles(chat) == ["user", "assistant"] * 2


def questions(*texts) -> list[Question]:
    return [
        Question(Conversation((Message("user", text),)), {"labels": text.upper()}, f"f:{number}")
        for number, text in enumerate(texts, start=1)
    ]


def read_rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_batch_answers_every_row_in_order(template, engine, tmp_path):
    path = tmp_path / "deep" / "replies.jsonl"
    texts = ["one", "你好", "two three four", "a"]
    report = answer_all(engine, template, questions(*texts), SAMPLING, path, rows_at_once=3)
    assert (report.answered, report.failed) == (4, 0)
    rows = read_rows(path)
    assert [row["labels"] for row in rows] == [text.upper() for text in texts]
    for row, text in zip(rows, texts, strict=True):
        assert [message["content"] for message in row["messages"]] == [text, row["response"]]
        assert row["finish_reason"] in ("stop", "length")


def test_batch_with_several_replies(template, engine, tmp_path):
    path = tmp_path / "replies.jsonl"
    report = answer_all(engine, template, questions("one"), SAMPLING, path, n=3)
    [row] = read_rows(path)
    assert len(set(row["responses"])) == 3
    assert report.tokens >= 3


def test_batch_counts_rows_that_cannot_be_answered(template, engine, tmp_path, capsys):
    path = tmp_path / "replies.jsonl"
    rows = questions("one", "word " * 300, "two")
    report = answer_all(engine, template, rows, SAMPLING, path)
    assert (report.answered, report.failed) == (2, 1)
    assert read_rows(path)[1]["error"].startswith("f:2: a prompt of")
    assert "1 rows could not be answered" in capsys.readouterr().err


class Published:
    do_sample = True
    temperature = 0.6
    top_p = 0.95
    top_k = 20
    min_p = None
    repetition_penalty = 1.05


def test_sampling_follows_the_user_then_the_model_then_greedy():
    assert sampling_params(GenerationConfig()).greedy
    told = sampling_params(GenerationConfig(), Published())
    assert (told.temperature, told.top_p, told.top_k, told.min_p) == (0.6, 0.95, 20, 0.0)
    assert told.repetition_penalty == 1.05
    asked = sampling_params(GenerationConfig(temperature=0, top_k=5, stop_words=["x"]), Published())
    assert (asked.temperature, asked.top_k, asked.stop) == (0, 5, ("x",))


WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}


class Caller(Parrot):
    """An engine that thinks, calls a function twice, and answers once it has the results."""

    def stream(self, prompt, sampling, media=None):
        text = TOKENIZER.decode(prompt)
        self.prompts.append(text)
        reply = "It is dry."
        if "wet?" in text and "<tool_response>" not in text:
            call = (
                '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>'
            )
            reply = f"<think>\nI must look.\n</think>\n\nOne moment.\n{call}\n{call}"
        for start in range(0, len(reply), 5):
            yield Chunk(reply[start : start + 5], (1,))
        yield Chunk("", (), Completion((1,), (0.0,), reply, "stop"))


def test_thoughts_and_calls_are_shown_apart(template):
    lines = ["wet?", "/result sunny", "/result 20 degrees", "/result again", "thanks"]
    shown, chat = talk(template, lines, Caller(), tools=[WEATHER])
    assert "[thoughts] I must look.\nOne moment.\n[call get_weather" in shown
    assert shown.count('[call get_weather {"city": "Rome"}]') == 2
    assert "[get_weather: noted; next get_weather]" in shown
    assert "no function was called, or all have answered" in shown
    assert roles(chat) == ["user", "assistant", "tool", "tool", "assistant", "user", "assistant"]
    called = chat.messages[1]
    assert (called.reasoning_content, called.content) == ("I must look.", "One moment.")
    assert [call.arguments for call in called.tool_calls] == [{"city": "Rome"}] * 2
    assert "sunny" in chat.engine.prompts[1] and "20 degrees" in chat.engine.prompts[1]


def test_without_tools_nothing_is_a_call(template):
    shown, chat = talk(template, ["wet?"], Caller())
    assert "<tool_call>" in shown and not chat.messages[1].tool_calls


def test_undo_takes_back_calls_and_results(template):
    lines = ["hello", "wet?", "/result a", "/result b", "/undo"]
    _, chat = talk(template, lines, Caller(), tools=[WEATHER])
    assert roles(chat) == ["user", "assistant"]


def test_a_saved_chat_with_tools_is_a_row_that_trains(template, tmp_path):
    file = tmp_path / "chats.jsonl"
    lines = ["wet?", "/result a", "/result b", f"/save {file}"]
    talk(template, lines, Caller(), tools=[WEATHER])
    [row] = [json.loads(line) for line in file.read_text().splitlines()]
    assert row["tools"] == [WEATHER]
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}
    encoder = TemplateRowEncoder(template, "instruction")
    assert encoder(RawRow(Origin("chats.jsonl", 1), row))[0].sequences[0].num_trained > 0
