"""Settings of `swiftrl export`."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["ExportConfig", "QuantConfig"]


@dataclass(frozen=True)
class ExportConfig:
    """Export."""

    output_dir: str | None = setting(
        None, "Folder for the result. Unset: beside the model or adapter, named after the method."
    )
    exist_ok: bool = setting(False, "Replace the folder if it exists.")
    max_shard_size: str = setting("5GB", "Weights are split into files of at most this size.")
    merge_lora: bool | None = setting(
        None,
        "Fold --adapters into the model. Unset: yes, if there are any; by itself, without "
        "--quant_method, the merged model is what is written.",
    )
    seed: int = setting(42, "Seed of the choice of calibration rows.")


@dataclass(frozen=True)
class QuantConfig:
    """Quantisation."""

    quant_method: str | None = setting(
        None,
        "How weights are rounded: gptq (each error made good by later weights, "
        "arXiv:2210.17323), awq (weights of large inputs first scaled up, arXiv:2306.00978), rtn "
        "(to the nearest, without data), or another that the documentation lists.",
    )
    quant_backend: str = setting(
        "swiftrl",
        "What rounds the weights: swiftrl, or another package that does it in its own way: "
        "gptqmodel, llmcompressor, autoawq, auto_gptq.",
    )
    quant_python: str | None = setting(
        None,
        "Python of another environment, in which --quant_backend is installed. Unset: this one.",
    )
    quant_bits: int | None = setting(None, "Bits of a weight. Unset: 4, or the method's only one.")
    quant_format: str = setting(
        "auto",
        "Format of the files: auto (the method's own), or one that it can write, e.g. gptq, "
        "gptq_v2, awq.",
    )
    group_size: int = setting(
        128, "Inputs of a layer that share a scale; -1 for all of a row.", aliases=("quant_group",)
    )
    symmetric: bool | None = setting(
        None, "Grid centred on zero, without zero points. Unset: as the format has it.",
        aliases=("sym",),
    )  # fmt: skip
    desc_act: bool = setting(
        False, "GPTQ: round the columns of the largest inputs first.", aliases=("act_order",)
    )
    damp_percent: float | None = setting(
        None,
        "GPTQ, AWQ: added to the Hessian's diagonal, as a share of its mean. Unset: the method's "
        "own.",
    )
    true_sequential: bool = setting(
        True, "Layers of a block see the outputs of those before them already quantised."
    )
    gptaq: bool = setting(
        True,
        "GPTQ, AWQ: layers also make good what the layers before them lost (GPTAQ, "
        "arXiv:2504.02692); needs --true_sequential, a second run of every calibration row and "
        "room for a copy of a block.",
    )
    awq_rounding: str = setting(
        "gptq",
        "AWQ: how weights are rounded once they are scaled: gptq (each error made good by later "
        "weights, as by --quant_method gptq) or nearest (as in AWQ's paper).",
        choices=("gptq", "nearest"),
    )
    quant_n_samples: int = setting(256, "Rows that calibrate.")
    quant_batch_size: int = setting(
        1, "Rows of the largest length that run at once; shorter ones are packed, never padded."
    )
    quant_eval_samples: int = setting(64, "Rows held out to compare with the original.")
    modules_to_not_convert: list[str] = setting(
        [], "More layers that stay as they are: name endings, or parts of names between dots."
    )
    quant_max_kl: float = setting(
        0.3,
        "The result is refused above this Kullback-Leibler divergence from the original, in nats "
        "a token of the held-out rows.",
    )
    force: bool = setting(
        False,
        "Go on with calibration rows of too few tokens, and write a result above --quant_max_kl.",
    )
