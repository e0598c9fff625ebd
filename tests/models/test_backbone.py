"""Where hidden states come from."""

from __future__ import annotations

import pytest
import torch
from tiny_models import make_model
from torch import nn

from swiftrl.core.errors import ModelError
from swiftrl.models.backbone import backbone_of, head_of


class Whole(nn.Module):
    """A model that holds a language model with its head, as omni models do."""

    base_model_prefix = ""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Linear(2, 2)
        self.language_model = make_model()

    def get_output_embeddings(self) -> None:
        return None

    def forward(self, input_ids, **kwargs):
        return self.language_model(input_ids=input_ids, **kwargs)


def test_a_model_s_own_backbone_comes_first():
    model = make_model()
    backbone = backbone_of(model)
    assert backbone.reads is backbone.gives is model.model
    assert backbone.head is head_of(model) is model.lm_head


def test_the_language_model_inside_gives_the_hidden_states():
    whole = Whole()
    backbone = backbone_of(whole)
    assert backbone.reads is whole
    assert backbone.gives is whole.language_model.model
    assert backbone.head is head_of(whole) is whole.language_model.lm_head
    ids = torch.tensor([[5, 6, 7]])
    wanted = whole.language_model.model(input_ids=ids).last_hidden_state
    assert torch.equal(backbone(input_ids=ids, use_cache=False), wanted)
    assert not backbone.gives._forward_hooks


def test_a_model_without_either_is_refused():
    whole = Whole()
    whole.language_model = nn.Linear(2, 2)
    with pytest.raises(ModelError, match="found no backbone under '' or 'model', nor"):
        backbone_of(whole)
