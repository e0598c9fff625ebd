"""Text architectures that the generic sizes do not fit: data only."""

from __future__ import annotations

from zoo_recipes import Recipe

__all__ = ["RECIPES"]

_NO_GENERATION = "scores or embeds text: the suite is of models that generate"

RECIPES: dict[str, Recipe] = {
    name: Recipe(beyond=_NO_GENERATION)
    for name in (
        "Gemma2ForSequenceClassification",
        "Gemma3TextModel",
        "LlamaForSequenceClassification",
        "ModernBertForSequenceClassification",
        "ModernBertModel",
        "XLMRobertaForSequenceClassification",
    )
}
