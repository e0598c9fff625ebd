"""A model's chat template: conversations to text, to tokens, and to what trains."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any, Literal

from swiftrl.core import log
from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.templates.compose import Segment, compose
from swiftrl.templates.convert import prepare, to_messages
from swiftrl.templates.dialect import speak
from swiftrl.templates.encoding import Encoded, encoded_as
from swiftrl.templates.fingerprint import template_fingerprint
from swiftrl.templates.guard import control_guard
from swiftrl.templates.media import MediaOptions, media_encoder, media_of
from swiftrl.templates.pieces import PieceEncoder
from swiftrl.templates.probe import Probe, probe_template
from swiftrl.templates.render import ChatRenderer
from swiftrl.templates.run import Rules, Run, shorter
from swiftrl.templates.source import TemplateOptions, build_renderer
from swiftrl.templates.stops import stop_token_ids
from swiftrl.templates.stream import StreamParser

__all__ = ["Template", "TrainMode"]

TrainMode = Literal["default", "last_round", "all"]
_TAIL = 64  # tokens of a prompt's end that hold all that it opens for the reply
_NOTHING = "no assistant turn to train on in this conversation."


class Template:
    """Renders and encodes conversations for one model; picklable.

    Args:
        tokenizer: a Hugging Face tokenizer.
        renderer: the chat template.
        options: the user's switches.

    Attributes:
        probe: what the template wants and does.
        dialect: how the model writes tool calls and thoughts.
        media: expands media; None for models of text.
        stop_token_ids: tokens at which a reply ends, EOS first.
        fingerprint: changes whenever the same conversation might be encoded differently.
    """

    def __init__(
        self,
        tokenizer: Any,
        renderer: ChatRenderer,
        options: TemplateOptions,
        processor: Any = None,
        media: MediaOptions | None = None,
    ) -> None:
        self.tokenizer, self.options = tokenizer, options
        eos = tokenizer.eos_token
        self._stop_texts = tuple(filter(None, (eos, *options.stop_tokens)))
        self.probe: Probe = probe_template(renderer, self._stop_texts)
        self.dialect, self.probe = speak(renderer, self.probe, options, self._stop_texts)
        self.media = media_encoder(renderer, processor, media)
        if self.media is not None:
            forms = dataclasses.replace(self.probe.forms, media=self.media.kinds)
            self.probe = dataclasses.replace(self.probe, forms=forms)
        self.renderer = renderer
        self.stop_token_ids = stop_token_ids(tokenizer, self.probe, options)
        self._rules = Rules(
            renderer, self.probe, control_guard(tokenizer, renderer.sources), self._stop_texts
        )
        self._encode_pieces = PieceEncoder(tokenizer)
        self._told_of_tools = False
        self.fingerprint = template_fingerprint(tokenizer, renderer, options, self.media)

    @classmethod
    def load(
        cls,
        tokenizer: Any,
        *,
        processor: Any = None,
        chat_template: str | None = None,
        options: TemplateOptions | None = None,
        media: MediaOptions | None = None,
    ) -> Template:
        """Return the template of a model.

        Args:
            tokenizer: the model's.
            processor: a multimodal model's; its chat template goes first.
            chat_template: a name in the library or a .jinja file instead of the model's own.
            options: system prompt, thinking switch and the like.
            media: how media are read.

        Raises:
            TemplateError: the model has no template and none is named, or it is no Jinja.
        """
        options = options or TemplateOptions()
        renderer = build_renderer(tokenizer, processor, chat_template, options)
        return cls(tokenizer, renderer, options, processor, media)

    def check(self) -> None:
        """Find out before anything else is loaded whether the template works at all.

        Raises:
            TemplateError: it renders no plain question and answer.
        """
        if self.probe.refusal:
            raise TemplateError(self.probe.refusal)

    def render(
        self, conversation: Conversation, *, add_generation_prompt: bool = False, **variables: Any
    ) -> str:
        """Return the text that the vendor's template writes for `conversation`.

        Raises:
            TemplateError: the template refuses it.
        """
        prepared = self._with_system(conversation)
        return self.renderer.render(
            to_messages(prepared, self.probe.forms),
            prepared.tools,
            add_generation_prompt=add_generation_prompt,
            **variables,
        )

    def run(self, conversation: Conversation, reply: Sequence[Message] = ()) -> Run:
        """Return `conversation`, with a reply that is to train behind it, ready to be rendered.

        Raises:
            TemplateError: the template cannot take it.
        """
        return Run(self._rules, self._prepared(conversation), reply)

    def encode_prompt(self, conversation: Conversation) -> list[int]:
        """Return the ids of `conversation` up to where the model's next turn begins."""
        run = self.run(conversation)
        text = run.render(run.messages, True) + self.options.response_prefix
        return self._tokens([Segment(text, 0.0)], media_of(run.conversation))[0][0]

    def media_tensors(self, conversation: Conversation) -> dict[str, Any]:
        """Return the tensors of a conversation's media, by the name of the model's argument."""
        parts = media_of(conversation)
        return self.media.tensors(parts) if parts and self.media is not None else {}

    def encode(self, conversation: Conversation, *, train: TrainMode = "default") -> Encoded:
        """Return a conversation's tokens with the weights of those that train.

        Args:
            conversation: messages, the assistant's turns among them.
            train: "default" trains every assistant turn that the text shows as the model would
                write it, "last_round" those after the last user message, "all" every token. A
                message's `loss` overrides this and its `loss_scale` is its tokens' weight.

        Raises:
            TemplateError: the template refuses the conversation, or nothing in it would train.
        """
        run = self.run(conversation)
        if train == "all":
            text = run.render(run.messages, False)
            said = text.rstrip()
            segments = [Segment(said, 1.0), Segment(text[len(said) :], 1.0)]
            return self._finish(segments, run.ends_with_reply, 0, media_of(run.conversation))
        return self._train(run, run.wanted(train))

    def encode_rounds(self, conversation: Conversation) -> tuple[Encoded, ...]:
        """Return a conversation as the sequences that train every turn as inference would have it.

        That is one sequence for most templates. Those that remove thoughts from earlier turns show
        these in a form the model never writes; each such round becomes a sequence of its own that
        ends there.
        """
        prepared = self._prepared(conversation)
        messages = prepared.messages
        sequences: list[Encoded] = []
        pending: list[tuple[int, list[int] | None]] = [(len(messages), None)]
        while pending:
            end, wanted = pending.pop()
            run = Run(self._rules, dataclasses.replace(prepared, messages=messages[:end]))
            wanted = run.wanted("default") if wanted is None else wanted
            if not wanted:
                raise TemplateError(_NOTHING)
            encoded, skipped = self._attempt(run, wanted)
            if encoded is not None:
                sequences.append(dataclasses.replace(encoded, skipped_turns=0))
            pending += shorter(messages, end, skipped)
        return tuple(reversed(sequences))

    def encode_pair(
        self,
        conversation: Conversation,
        chosen: Sequence[Message],
        rejected: Sequence[Message],
    ) -> tuple[Encoded, Encoded]:
        """Return two replies to one conversation, each behind the same prompt tokens.

        Args:
            conversation: the messages before the replies.
            chosen: the better reply.
            rejected: the worse one.

        Raises:
            TemplateError: the template refuses the conversation, or a reply is empty.
        """
        runs = (self.run(conversation, reply) for reply in (chosen, rejected))
        first, second = (self._train(run, run.wanted("reply")) for run in runs)
        return first, second

    def encode_steps(self, conversation: Conversation, steps: Sequence[str]) -> Encoded:
        """Return a reply in steps; of the tokens of each step the last one has a weight.

        Args:
            conversation: the messages before the reply.
            steps: texts that make up the reply, separators included.

        Raises:
            TemplateError: the template refuses the conversation.
        """
        run = self.run(conversation)
        text = run.render(run.messages, True) + self.options.response_prefix
        segments = [Segment(text, 0.0), *(Segment(step, 1.0) for step in steps)]
        parts = media_of(run.conversation)
        ids, weights = self._tokens(segments, parts)
        for own in weights:
            own[:-1] = [0.0] * (len(own) - 1)
        encoded = encoded_as(list(chain(*ids)), list(chain(*weights)))
        return dataclasses.replace(encoded, media=parts) if parts else encoded

    def encode_text(self, text: str) -> Encoded:
        """Return plain text for pre-training: every token trains, EOS included.

        BOS is added where the tokenizer adds it; control tokens in the text count as such.
        """
        ids = list(self.tokenizer(text)["input_ids"])
        if self.tokenizer.eos_token_id is not None and ids[-1:] != [self.tokenizer.eos_token_id]:
            ids.append(self.tokenizer.eos_token_id)
        return encoded_as(ids, [1.0] * len(ids))

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """Return the text of `token_ids`."""
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens)

    def parser(
        self, prompt: Sequence[int], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> StreamParser:
        """Return a parser of the reply to `prompt`; feed it text that holds the model's marks.

        Args:
            prompt: tokens; their end tells whether thoughts are open.
            tools: on offer; None where unknown, empty: nothing is a call.
        """
        tail = self.decode(prompt[-_TAIL:])
        return self.dialect.parser(tools, tail.removesuffix(self.options.response_prefix))

    @functools.cached_property
    def mark_token_ids(self) -> frozenset[int]:
        """Special tokens that a reply's text must show, for `parser` to see its marks."""
        return self.dialect.mark_token_ids(self.tokenizer)

    def _prepared(self, conversation: Conversation) -> Conversation:
        self.check()
        self._tell_of_tools(len(conversation.tools))
        return self._with_system(conversation)

    def _tell_of_tools(self, count: int) -> None:
        """Say once that a template writes calls of tools that it does not show."""
        use, writing = self.probe.tools, self.probe.forms.writing
        offered = use.offers or (writing is not None and writing.offers)
        if not count or not use.calls or offered or self._told_of_tools:
            return
        self._told_of_tools = True
        log.warn(
            f"{self.renderer.name} writes no tools into the text, but the conversation offers "
            f"{count}: the model learns calls of tools that it is not shown. --agent_template "
            f"{self.dialect.syntax_name} would list them."
        )

    def _with_system(self, conversation: Conversation) -> Conversation:
        system = self.options.system
        messages = conversation.messages
        if system is not None and not (messages and messages[0].role == "system"):
            messages = (Message("system", system), *messages)
            conversation = dataclasses.replace(conversation, messages=messages)
        if not messages:
            raise TemplateError("a conversation without messages cannot be rendered.")
        return prepare(conversation, self.probe.forms)

    def _train(self, run: Run, wanted: Sequence[int]) -> Encoded:
        encoded = self._attempt(run, wanted)[0] if wanted else None
        if encoded is None:
            raise TemplateError(_NOTHING)
        return encoded

    def _attempt(self, run: Run, wanted: Sequence[int]) -> tuple[Encoded | None, tuple[int, ...]]:
        """Return the sequence, None if nothing in it trains, and the turns that do not train."""
        rendered = run.locate(wanted)
        segments, skipped = compose(
            rendered,
            [run.turn(span.message) for span in rendered.spans],
            final_from=run.final_from,
            markers=self.probe.thought_markers,
            response_prefix=self.options.response_prefix,
        )
        skipped = tuple(sorted((*skipped, *rendered.hidden)))
        if not segments:
            return None, skipped
        ends_with_reply = wanted[-1] == len(run.messages) - 1
        parts = media_of(run.conversation)
        return self._finish(segments, ends_with_reply, len(skipped), parts), skipped

    def _finish(
        self,
        segments: list[Segment],
        ends_with_reply: bool,
        skipped: int,
        parts: tuple[Part, ...],
    ) -> Encoded:
        """Tokenise segments, and end a reply that the template leaves open with EOS."""
        ids, weights = self._tokens(segments, parts)
        # White space or an appendix behind the reply is no end: EOS takes its place.
        open_ends = ("", self.probe.appendix)
        last = len(segments) - (2 if segments[-1].text.strip() in open_ends else 1)
        trained = ends_with_reply and last >= 0 and segments[last].weight > 0
        if trained and not set(ids[last][-1:]) & set(self.stop_token_ids):
            ids[last + 1 :] = [[self._eos()]]
            weights[last + 1 :] = [[segments[last].weight]]
        encoded = encoded_as(list(chain(*ids)), list(chain(*weights)), skipped)
        return dataclasses.replace(encoded, media=parts) if parts else encoded

    def _eos(self) -> int:
        if self.tokenizer.eos_token_id is None:
            raise TemplateError(
                f"{self.renderer.name} writes nothing behind a reply and the tokenizer has no "
                "EOS token, so a model could not learn to stop; choose another --template."
            )
        return self.tokenizer.eos_token_id

    def _tokens(
        self, segments: Sequence[Segment], media: Sequence[Part]
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Return the ids of each segment, and their weights."""
        pieces = [segment.pieces() for segment in segments]
        encoded = iter(self._encode_pieces(list(chain(*pieces))))
        ids = [list(chain(*islice(encoded, len(parts)))) for parts in pieces]
        weights = [[part.weight] * len(own) for part, own in zip(segments, ids, strict=True)]
        if self.media is not None:
            self.media.expand(ids, weights, media)
        return ids, weights
