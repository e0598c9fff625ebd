"""What of a model's architecture decides memory, read from a model without weights.

Values are counted by token: "width 512" is 512 numbers of a token's hidden state.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from torch import nn

from swiftrl.models.backbone import backbone_of
from swiftrl.models.spec import ModelSpec
from swiftrl.models.towers import Tower, tower_of

__all__ = ["Attention", "Layer", "Linear", "Mlp", "ModelShape", "read_shape"]

_LAST = {
    "o_proj", "out_proj", "dense", "wo", "c_proj", "down_proj", "w2", "fc2", "dense_4h_to_h",
    "linear_fc2", "proj",
}  # fmt: skip
"""Names of linear layers that take what another operation made, not what their siblings take."""
_GATED = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer.

    Attributes:
        name: full dotted name.
        inputs, outputs: values of a token.
        source: linear layers of one source take the same tensor.
    """

    name: str
    inputs: int
    outputs: int
    source: str

    @property
    def size(self) -> int:
        """Weights, without the bias."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class Attention:
    """Values of a token in attention: all query heads, all key heads, all value heads."""

    heads: int
    query: int
    key: int
    value: int
    output: int


@dataclass(frozen=True, slots=True)
class Mlp:
    """What follows attention in a layer.

    Attributes:
        inner: values between its matrices (of one expert, in a mixture).
        gated: two matrices in, whose results are multiplied.
        experts: experts that see a token; 0 for a plain MLP.
        total: experts in all.
        shared: inner values of experts that see every token.
    """

    inner: int
    gated: bool = True
    experts: int = 0
    total: int = 0
    shared: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A decoder layer (or a layer of an encoder).

    Attributes:
        width: of the hidden state.
        norms: norms over the hidden state.
        head_norms: values that norms of queries and keys see.
        attention: its attention; None for a layer of another kind.
        mlp: its MLP; None if it has none that is known.
        linears: every linear layer in it.
        parameters: all weights in it.
    """

    width: int
    norms: int
    head_norms: int
    attention: Attention | None
    mlp: Mlp | None
    linears: tuple[Linear, ...]
    parameters: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model.

    Attributes:
        architecture: class name in transformers.
        parameters: all of them; a weight with two uses counts once.
        sizes: parameters of each tower.
        layers: the language model's, in order.
        encoder: layers of a picture encoder, in order.
        width: of the hidden state.
        vocabulary: rows of the head.
        embedding: weights of the input embedding.
        head: weights of the head, also where they are the embedding's.
        tied: whether they are.
        linears: every linear layer of the model but the head.
        context: longest sequence that the positions allow; None if unlimited.
        cached: values of a token that generation keeps, over all layers.
    """

    architecture: str
    parameters: int
    sizes: dict[Tower, int]
    layers: tuple[Layer, ...]
    encoder: tuple[Layer, ...]
    width: int
    vocabulary: int
    embedding: int
    head: int
    tied: bool
    linears: tuple[Linear, ...]
    context: int | None
    cached: int


def read_shape(model: Any, spec: ModelSpec | None) -> ModelShape:
    """Return what decides memory; only shapes and configuration are looked at.

    Args:
        model: a model of transformers without adapters, on any device.
        spec: the registry's entry.

    Raises:
        ModelError: it is no causal language model.
    """
    backbone = backbone_of(model)
    text = model.config.get_text_config(decoder=True)
    sizes: Counter[Tower] = Counter()
    for name, parameter in model.named_parameters():
        sizes[tower_of(name, spec)] += parameter.numel()
    embedding = model.get_input_embeddings().weight
    head = backbone.head.weight
    named = {id(module): name for name, module in model.named_modules()}
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and "." not in name.split("layers")[-1]
    ]
    own = named.get(id(backbone.gives), "")
    decoder: list[Layer] = []
    encoder: list[Layer] = []
    for name, modules in lists:
        if not any(any(True for _ in m.parameters()) for m in modules):
            continue
        if name.startswith(own) and tower_of(name, spec) == "language":
            if not decoder:
                decoder = [_layer(f"{name}.{i}", m, text) for i, m in enumerate(modules)]
        elif tower_of(name, spec) == "vision" and not encoder:
            config = _encoder_config(model.config)
            encoder = [_layer(f"{name}.{i}", m, config) for i, m in enumerate(modules)]
    return ModelShape(
        architecture=type(model).__name__,
        parameters=sum(sizes.values()),
        sizes=dict(sizes),
        layers=tuple(decoder),
        encoder=tuple(encoder),
        width=head.shape[-1],
        vocabulary=head.shape[0],
        embedding=embedding.numel(),
        head=head.numel(),
        tied=head is embedding,
        linears=_linears("", model),
        context=getattr(text, "max_position_embeddings", None),
        cached=sum(
            layer.attention.key + layer.attention.value for layer in decoder if layer.attention
        ),
    )


def _encoder_config(config: Any) -> Any:
    for name in ("vision_config", "visual", "audio_config"):
        if (found := getattr(config, name, None)) is not None:
            return found
    return config


def _linears(prefix: str, module: nn.Module) -> tuple[Linear, ...]:
    found = []
    for name, part in module.named_modules(prefix=prefix):
        if not isinstance(part, nn.Linear):
            continue
        parent, _, leaf = name.rpartition(".")
        source = name if leaf in _LAST else f"{parent}:{part.in_features}"
        found.append(Linear(name, part.in_features, part.out_features, source))
    return tuple(found)


def _layer(name: str, module: nn.Module, config: Any) -> Layer:
    width = _first(config, "hidden_size", "n_embd", "d_model", "embed_dim") or 0
    norms = head_norms = 0
    attention = _attention(module, config, width)
    for path, part in module.named_modules():
        weight = getattr(part, "weight", None)
        if "Norm" not in type(part).__name__ or weight is None or weight.dim() != 1:
            continue
        leaf = path.rpartition(".")[2]
        if weight.numel() == width:
            norms += 1
        elif attention is not None:
            head_norms += attention.query if leaf.startswith("q") else attention.key
    return Layer(
        width=width,
        norms=norms,
        head_norms=head_norms,
        attention=attention,
        mlp=_mlp(module, config),
        linears=_linears(name, module),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
    )


def _first(config: Any, *names: str) -> Any:
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _attention(module: nn.Module, config: Any, width: int) -> Attention | None:
    heads = _first(config, "num_attention_heads", "n_head", "num_heads")
    by_leaf = {
        path.rpartition(".")[2]: part
        for path, part in module.named_modules()
        if isinstance(part, nn.Linear)
    }
    if not heads or not (set(by_leaf) & {"o_proj", "out_proj", "dense", "wo", "c_proj", "proj"}):
        return None
    output = next(
        by_leaf[leaf].in_features
        for leaf in ("o_proj", "out_proj", "dense", "wo", "c_proj", "proj")
        if leaf in by_leaf
    )
    if {"q_proj", "k_proj", "v_proj"} <= set(by_leaf):
        query, key, value = (by_leaf[f"{x}_proj"].out_features for x in "qkv")
        return Attention(heads, min(query, output) if query > output else query, key, value, output)
    if "kv_b_proj" in by_leaf:  # multi-head latent attention: keys and values of every head
        nope, rope = (_first(config, n) or 0 for n in ("qk_nope_head_dim", "qk_rope_head_dim"))
        wide = _first(config, "v_head_dim") or output // heads
        each = heads * (nope + rope)
        return Attention(heads, each, each, heads * wide, output)
    shared = _first(config, "num_key_value_heads", "n_head_kv") or heads
    key = output // heads * shared
    return Attention(heads, output, key, key, output)


def _mlp(module: nn.Module, config: Any) -> Mlp | None:
    shared = inner = 0
    gated = False
    stacked = [p for _, p in module.named_parameters() if p.dim() == 3]
    for path, part in module.named_modules():
        up = getattr(part, "up_proj", None)
        if all(isinstance(getattr(part, leaf, None), nn.Linear) for leaf in _GATED):
            gated = True
            if "shared" in path:
                shared += up.out_features  # type: ignore[union-attr]
            else:
                inner = up.out_features  # type: ignore[union-attr]
    if stacked:
        total = stacked[0].shape[0]
        small = _first(config, "moe_intermediate_size", "expert_ffn_hidden_size") or _first(
            config, "intermediate_size"
        )
        seen = _first(config, "num_experts_per_tok", "moe_topk", "num_experts_per_token") or 1
        return Mlp(small or 0, True, seen, total, shared or inner)
    if inner:
        return Mlp(inner, gated, shared=shared)
    plain = _first(config, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
    return Mlp(plain, gated=False) if plain else None
