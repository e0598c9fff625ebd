"""Writes a model folder as one GGUF file, tensor by tensor, and reads it again."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftrl.core import log
from swiftrl.core.compat import require
from swiftrl.core.errors import ExportError, ModelError
from swiftrl.core.files import disk_errors
from swiftrl.export.gguf.families import (
    Family,
    family_of,
    frequency_factors,
    rope_of,
    unrotated,
)
from swiftrl.export.gguf.vocabulary import Vocabulary, vocabulary_of
from swiftrl.export.publish.weights import headers_of, read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["GGUF_TYPES", "check_gguf", "check_source", "write_gguf"]

GGUF_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1")
"""Types of the matrices in the file; vectors are always float32."""

_FILE_TYPES = {
    "f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0",
    "q4_0": "MOSTLY_Q4_0", "q4_1": "MOSTLY_Q4_1", "q5_0": "MOSTLY_Q5_0", "q5_1": "MOSTLY_Q5_1",
}  # fmt: skip


def _gguf() -> Any:
    return require("gguf", extra="gguf", purpose="writing GGUF")


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a tensor stands.

    Attributes:
        path: safetensors file.
        name: in the file.
        shape: its shape.
    """

    path: Path
    name: str
    shape: tuple[int, ...]


def check_source(folder: Path) -> list[str]:
    """Return why a folder cannot be written as GGUF; nothing if it can."""
    config = read_json(folder / "config.json")
    try:
        family_of(config)
        rope_of(config)
        vocabulary_of(folder, int(config["vocab_size"]))
    except ModelError as error:
        return [str(error)]
    return []


def write_gguf(folder: Path, path: Path, kind: str, name: str) -> None:
    """Write a model folder as a GGUF file; it is there whole or not at all.

    Args:
        folder: of the model.
        path: of the file.
        kind: type of the matrices, one of GGUF_TYPES.
        name: of the model, in the file.

    Raises:
        ModelError: the model is of a family, or has a tokenizer, that is not written.
        ExportError: the file does not hold what was written.
    """
    gguf = _gguf()
    config = read_json(folder / "config.json")
    family = family_of(config)
    heads = {"q": int(config["num_attention_heads"]), "k": _kv_heads(config)}
    temporary = path.with_name(f".{path.name}.writing")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(temporary, family.architecture)
        _describe(writer, gguf, config, kind, name)
        _add_vocabulary(writer, vocabulary_of(folder, int(config["vocab_size"])))
        sources = _sources(folder, family, int(config["num_hidden_layers"]), gguf)
        types = {target: _type_of(gguf, source.shape, kind) for target, source in sources.items()}
        extra = _extra_tensors(config, family)
        for target, source in sources.items():
            _announce(writer, gguf, target, source.shape, types[target])
        for target, tensor in extra.items():
            writer.add_tensor_info(target, tensor.shape, tensor.dtype, tensor.nbytes)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        progress = log.Progress("tensors written", len(sources))
        for number, (target, tensor) in enumerate(_tensors(sources), start=1):
            if (
                family.interleaved
                and target.startswith("blk.")
                and (role := {"attn_q": "q", "attn_k": "k"}.get(target.split(".")[2]))
            ):
                tensor = unrotated(tensor, heads[role])
            writer.write_tensor_data(gguf.quantize(tensor.copy(), types[target]))
            progress.update(number)
        for tensor in extra.values():
            writer.write_tensor_data(tensor)
        progress.close()
        writer.close()
        check_gguf(temporary, {t: s.shape for t, s in sources.items()})
        os.replace(temporary, path)


def check_gguf(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Read a file again and find every tensor with its shape.

    Raises:
        ExportError: one is absent or of another shape.
    """
    found = {
        tensor.name: tuple(int(size) for size in reversed(tensor.shape))
        for tensor in _gguf().GGUFReader(path).tensors
    }
    for name, shape in shapes.items():
        if found.get(name) != tuple(shape):
            raise ExportError(
                f"{path}: tensor {name} is {found.get(name)}; expected {tuple(shape)}."
            )


def _kv_heads(config: Mapping[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _head_dim(config: Mapping[str, Any]) -> int:
    found = config.get("head_dim")
    return int(found or config["hidden_size"] // config["num_attention_heads"])


def _describe(writer: Any, gguf: Any, config: Mapping[str, Any], kind: str, name: str) -> None:
    """Write sizes and settings of the model."""
    rope = rope_of(config)
    writer.add_name(name)
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(int(config["num_attention_heads"]))
    writer.add_head_count_kv(_kv_heads(config))
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))
    writer.add_rope_dimension_count(_head_dim(config))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[kind]])
    if kind.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(
            int(rope.get("original_max_position_embeddings") or config["max_position_embeddings"])
        )


def _add_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(vocabulary.adds_bos)
    for role, index in vocabulary.special.items():
        getattr(writer, f"add_{role}_token_id")(index)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _sources(folder: Path, family: Family, layers: int, gguf: Any) -> dict[str, _Source]:
    """Return GGUF's name -> tensor, in the order of the files."""
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[family.architecture], layers)
    sources: dict[str, _Source] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, entry in headers_of(path).items():
            if name.endswith("rotary_emb.inv_freq"):
                continue
            target = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if target is None:
                raise ModelError(f"{path}: tensor {name} has no place in GGUF's "
                                 f"{family.architecture}.")  # fmt: skip
            sources[target] = _Source(path, name, tuple(entry["shape"]))
    return sources


def _extra_tensors(config: Mapping[str, Any], family: Family) -> dict[str, NDArray[np.float32]]:
    rope = rope_of(config)
    if rope["rope_type"] != "llama3":
        return {}
    if family.architecture != "llama":
        raise ModelError("config.json: rope_type llama3 is written for Llama only.")
    return {"rope_freqs.weight": frequency_factors(rope, _head_dim(config))}


def _type_of(gguf: Any, shape: tuple[int, ...], kind: str) -> Any:
    """Return the type of a tensor: vectors, and rows that blocks do not divide, stay whole."""
    types = gguf.GGMLQuantizationType
    if len(shape) < 2:
        return types.F32
    wanted = types[kind.upper()]
    block = gguf.GGML_QUANT_SIZES[wanted][0]
    return wanted if shape[-1] % block == 0 else types.F16


def _announce(writer: Any, gguf: Any, name: str, shape: tuple[int, ...], kind: Any) -> None:
    import numpy as np

    plain = {"F32": np.float32, "F16": np.float16}.get(kind.name)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    count = math.prod(shape)
    if plain is not None:
        writer.add_tensor_info(name, shape, np.dtype(plain), count * size)
        return
    stored = (*shape[:-1], shape[-1] // block * size)
    writer.add_tensor_info(name, stored, np.dtype(np.uint8), count // block * size, raw_dtype=kind)


def _tensors(sources: Mapping[str, _Source]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield each tensor in float32."""
    from safetensors import safe_open

    opened: tuple[Path, Any] | None = None
    for target, source in sources.items():
        if opened is None or opened[0] != source.path:
            opened = source.path, safe_open(source.path, "pt")
        yield target, opened[1].get_tensor(source.name).float().numpy()
