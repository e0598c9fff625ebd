"""Names of linear layers that many architectures share, for the tables in `models/families`."""

from __future__ import annotations

__all__ = [
    "ATTENTION",
    "ATTENTION_GROUPS",
    "DENSE_GROUPS",
    "FAIRSEQ",
    "FAIRSEQ_GROUPS",
    "FUSED_MLP",
    "FUSED_MLP_GROUPS",
    "LATENT",
    "LATENT_GROUPS",
    "LINEAR",
    "NEOX",
    "NEOX_GROUPS",
]

# In order of execution; groups hold the layers that read the same input.
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ATTENTION_GROUPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",))
DENSE_GROUPS = (
    ("q_proj", "k_proj", "v_proj"),
    ("o_proj",),
    ("gate_proj", "up_proj"),
    ("down_proj",),
)
FAIRSEQ = ("k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2")
FAIRSEQ_GROUPS = (("q_proj", "k_proj", "v_proj"), ("out_proj",), ("fc1",), ("fc2",))
FUSED_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj")
FUSED_MLP_GROUPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_up_proj",), ("down_proj",))
LATENT = (
    "q_a_proj",
    "q_b_proj",
    "kv_a_proj_with_mqa",
    "kv_b_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)
LATENT_GROUPS = (
    ("q_a_proj", "kv_a_proj_with_mqa"),
    ("q_b_proj",),
    ("kv_b_proj",),
    ("o_proj",),
    ("gate_proj", "up_proj"),
    ("down_proj",),
)
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NEOX = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
NEOX_GROUPS = (("query_key_value",), ("dense",), ("dense_h_to_4h",), ("dense_4h_to_h",))
