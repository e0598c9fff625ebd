"""Settings of models and adapters."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["ModelConfig", "QuantLoadConfig", "TunerConfig"]

DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class ModelConfig:
    """Model."""

    model: str | None = setting(
        None,
        "Local folder, `builtin:NAME` (see `swiftrl env`), or hub id (ModelScope, or Hugging "
        "Face with --use_hf true).",
    )
    model_type: str | None = setting(
        None, "Registry entry to use when the folder alone does not tell."
    )
    model_revision: str | None = setting(None, "Branch, tag or commit on the hub.")
    use_hf: bool = setting(False, "Take hub ids from Hugging Face instead of ModelScope.")
    hub_token: str | None = setting(None, "Token for private repositories.", secret=True)
    torch_dtype: str | None = setting(
        None,
        "Type to compute in. Trainable weights are kept in float32 whatever it is. Unset: "
        "bfloat16 where the hardware has it, else float32.",
        choices=DTYPES,
    )
    attn_impl: str | None = setting(
        None,
        "Attention of the rows layout and of generation. Unset: sdpa, or eager for an "
        "architecture without it.",
        choices=("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"),
    )
    device_map: str | None = setting(
        None,
        "Spread the layers over all devices of one process, one after another: auto or balanced "
        "(evenly), balanced_low_0 (little on the first), sequential (fill one after another).",
        choices=("auto", "balanced", "balanced_low_0", "sequential"),
    )
    max_memory: dict[str, str] = setting(
        {}, 'With --device_map: most memory of weights on each device, as JSON: {"0": "20GiB"}.'
    )
    adapters: list[str] = setting([], "LoRA adapter folders to put on the model.")
    use_cpu: bool = setting(False, "Use the CPU even if an accelerator is present.")
    backend: str | None = setting(
        None,
        "Hardware to use, e.g. cpu (docs: Hardware). Unset: the first of Ascend, CUDA, MPS and "
        "CPU that is there.",
    )


@dataclass(frozen=True)
class QuantLoadConfig:
    """Quantised weights under adapters."""

    quant_method: str | None = setting(
        None,
        "Quantise frozen linear layers as they are read: nf4 (QLoRA's 4 bits, arXiv:2305.14314, "
        "on all hardware) or bnb (bitsandbytes, CUDA and CPU). A model that is stored quantised "
        "needs no setting.",
    )
    quant_bits: int | None = setting(None, "Bits of a weight: 4, or with bnb also 8. Unset: 4.")
    bnb_4bit_quant_type: str = setting(
        "nf4", "With --quant_method bnb: type of 4-bit numbers.", choices=("nf4", "fp4")
    )
    bnb_4bit_use_double_quant: bool = setting(
        True, "With --quant_method bnb: quantise the scales of 4-bit numbers in turn."
    )
    bnb_4bit_compute_dtype: str | None = setting(
        None,
        "With --quant_method bnb: type that 4-bit numbers are multiplied in. Unset: --torch_dtype.",
        choices=DTYPES,
    )


@dataclass(frozen=True)
class TunerConfig:
    """What is trained: LoRA or all weights."""

    tuner_type: str = setting(
        "lora",
        "Train LoRA adapters or all weights.",
        choices=("lora", "full"),
        aliases=("train_type",),
    )
    lora_rank: int = setting(8, "Rank of the LoRA matrices.")
    lora_alpha: int = setting(32, "LoRA scale: updates are multiplied by alpha / rank.")
    lora_dropout: float = setting(0.05, "Dropout on the input of the LoRA matrices.")
    lora_bias: str = setting("none", "Which biases train.", choices=("none", "all", "lora_only"))
    use_rslora: bool = setting(False, "Scale by alpha / sqrt(rank) (arXiv:2312.03732).")
    use_dora: bool = setting(False, "Weight-decomposed LoRA (arXiv:2402.09353).")
    target_modules: list[str] = setting(
        ["all-linear"],
        "Modules that get LoRA: all-linear (every linear layer but the head), or name endings.",
    )
    target_regex: str | None = setting(
        None, "Regular expression on full module names, instead of --target_modules."
    )
    modules_to_save: list[str] = setting(
        [], "Modules trained in full and saved with the adapter, e.g. embed_tokens lm_head."
    )
    init_weights: str = setting(
        "true",
        "Initialisation of LoRA: true (no change at first), gaussian, pissa, olora, orthogonal.",
        choices=("true", "gaussian", "pissa", "olora", "orthogonal"),
    )
    freeze_llm: bool = setting(False, "Full training: leave the language model's weights alone.")
    freeze_vit: bool = setting(True, "Leave the vision or audio tower's weights alone.")
    freeze_aligner: bool = setting(True, "Leave the projector's weights alone.")
