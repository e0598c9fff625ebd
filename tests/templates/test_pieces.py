"""Pieces join to the tokens of the whole, whatever the tokenizer does at a text's start."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from swiftrl.templates.pieces import PieceEncoder

# No line breaks: tokenizers that do not cut text before merging have them as a byte, too.
CORPUS = ["hello there friend I am a small tokenizer. It is 2. [INST] who? [/INST]"] * 20


def legacy():
    """Return Llama 2's kind: a space is put before every stretch between added tokens."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def first_only():
    """Return the newer kind: a space is put before the text."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    return tokenizer


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def prefixed():
    """Return a byte-level kind that puts a space before the text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def trained_tokenizer(make, *, rstrip=False):
    backend = make()
    trainer = BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "<0x0A>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    tokenizer.add_tokens([AddedToken("<|end|>", special=True, rstrip=rstrip, normalized=False)])
    return tokenizer


@pytest.mark.parametrize("make", [legacy, first_only, byte_level, prefixed])
@pytest.mark.parametrize("rstrip", [False, True])
@pytest.mark.parametrize(
    "pieces",
    [
        ["[INST] who? [/INST]", " hello there</s>", "[INST] It is 2. [/INST]", " I am</s>"],
        ["hello<|end|>", "\nfriend\n", "It is 2.<|end|>", "\n"],
        ["hello\n", "friend", "<|end|>\n", "It is"],
        ["hello<|end|>\n", "friend"],
    ],
)
def test_pieces_join_to_the_whole(make, rstrip, pieces):
    tokenizer = trained_tokenizer(make, rstrip=rstrip)
    encode = PieceEncoder(tokenizer)
    joined = [token for ids in encode(pieces) for token in ids]
    assert joined == tokenizer("".join(pieces), add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("make", [legacy, first_only, byte_level, prefixed])
def test_text_survives_any_cut(make):
    tokenizer = trained_tokenizer(make)
    encode = PieceEncoder(tokenizer)
    text = "hello there\n\n friend  It is 2.</s>I am"
    whole = tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])
    for cut in range(1, len(text)):
        ids = [token for part in encode([text[:cut], text[cut:]]) for token in part]
        if text[:cut].endswith(("<", "</", "</s")):
            continue  # a cut through a control token breaks it, as it should
        assert tokenizer.decode(ids).replace(" ", "") == whole.replace(" ", "")


def test_no_pieces():
    assert PieceEncoder(trained_tokenizer(byte_level))([]) == []
    assert PieceEncoder(trained_tokenizer(legacy))(["hello", "", "x"])[1] == []


def test_backend_with_truncation_is_not_used_bare():
    tokenizer = trained_tokenizer(byte_level)
    tokenizer.backend_tokenizer.enable_truncation(2)
    assert len(PieceEncoder(tokenizer)(["hello there friend"])[0]) > 2
