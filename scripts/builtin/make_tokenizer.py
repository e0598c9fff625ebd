"""Train the built-in models' tokenizer: a byte-level BPE of 2048 entries with a chat template.

`python -m scripts.builtin.make_tokenizer --output FOLDER`
"""

from __future__ import annotations

import argparse
import random
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from scripts.builtin import lexicon
from scripts.builtin.corpus import instructions, texts

VOCABULARY = 2048
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|pad|>",
)
# Tags that replies may hold are added tokens, yet not "special": decoding keeps them.
KEPT_WHEN_DECODING = SPECIAL[3:9]
# Words, single digits, punctuation with its leading space, line ends, spaces: Qwen's rule.
WORD = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def _training_text() -> list[str]:
    rng = random.Random("swiftrl tokenizer")
    found = [row["text"] for row in islice(texts(rng), 6000)]
    for row in islice(instructions(rng), 4000):
        found += [message["content"] for message in row["messages"]]
    found += lexicon.COMMON_ENGLISH.split() * 12
    found += [" " + word for word in lexicon.COMMON_ENGLISH.split()] * 60
    found += list("".join(lexicon.COMMON_CHINESE.split())) * 60
    for name in lexicon.words():
        found += [name, " " + name] * 80
    return found


def make() -> PreTrainedTokenizerFast:
    """Train the tokenizer; the same every time."""
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=24,
    )
    core.train_from_iterator(_training_text(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [t for t in SPECIAL if t not in KEPT_WHEN_DECODING]}
    )
    tokenizer.add_tokens(list(KEPT_WHEN_DECODING))
    tokenizer.chat_template = TEMPLATE.read_text("utf-8")
    if len(tokenizer) != VOCABULARY:
        raise SystemExit(f"the tokenizer has {len(tokenizer)} entries, not {VOCABULARY}")
    return tokenizer


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    make().save_pretrained(parser.parse_args().output)


if __name__ == "__main__":
    main()
