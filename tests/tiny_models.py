"""Tiny random models with their own tokenizer, made on the spot."""

from pathlib import Path

import device
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = [
    "The quick brown fox jumps over the lazy dog. " * 3,
    "one two three four five six seven eight nine ten",
    "你好，世界。今天天气很好。",
]
_TEXT_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}


def make_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer of about 300 tokens with a ChatML template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(TEXT, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(kind: str = "Qwen3", *, tied: bool = True, seed: int = 0, **sizes):
    """Return a random causal model of the family `kind`, e.g. "Qwen3", in float32."""
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(
        **{**_TEXT_SIZES, **sizes},
        vocab_size=304,
        tie_word_embeddings=tied,
        eos_token_id=2,
        pad_token_id=0,
        bos_token_id=None,
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    # Wider than the default, so that tokens differ clearly and rounding cannot swap them.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return device.put(model)


def make_llava(*, tied: bool = False):
    """Return a random LLaVA: a CLIP vision tower, a projector and a Llama, all tiny."""
    torch.manual_seed(0)
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        image_size=16, patch_size=8,
    )  # fmt: skip
    text = transformers.LlamaConfig(**_TEXT_SIZES, vocab_size=304, eos_token_id=2, pad_token_id=0)
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=3, tie_word_embeddings=tied
    )
    return device.put(transformers.LlavaForConditionalGeneration(config).eval())


def save_model(folder: Path, model=None, *, shard: str = "5GB", dtype=torch.float32) -> Path:
    """Write a model and the tiny tokenizer to `folder`."""
    model = make_model() if model is None else model
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    make_tokenizer().save_pretrained(folder)
    return folder
