"""Rerankers and embedding models in encoder architectures."""

from __future__ import annotations

from swiftrl.models.spec import HubId, ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="bge_reranker",
        architectures=("XLMRobertaForSequenceClassification",),
        hub_ids=same_ids(
            "BAAI/bge-reranker-base", "BAAI/bge-reranker-v2-m3", "BAAI/bge-reranker-large"
        ),
        lora_targets=("query", "key", "value", "dense"),
        capabilities=("reranker",),
    ),
    ModelSpec(
        name="modernbert_reranker",
        architectures=("ModernBertForSequenceClassification",),
        hub_ids=(
            HubId("iic/gte-reranker-modernbert-base", "Alibaba-NLP/gte-reranker-modernbert-base"),
        ),
        lora_targets=("Wqkv", "Wo", "Wi"),
        capabilities=("reranker",),
    ),
    ModelSpec(
        name="modernbert_embedding",
        architectures=("ModernBertModel",),
        hub_ids=(HubId("iic/gte-modernbert-base", "Alibaba-NLP/gte-modernbert-base"),),
        lora_targets=("Wqkv", "Wo", "Wi"),
        capabilities=("embedding",),
    ),
)
