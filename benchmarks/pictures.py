"""Processor time of a DPO step on pictures, tree layout against rows, and what the encoder sees.

`python benchmarks/pictures.py` trains builtin:tiny-vl with LoRA on pairs about several pictures
each, made of the built-in vision pairs. Both layouts take the same batches in turns, so that a
busy machine slows both alike; the reference is the model without its adapters.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch

from swiftrl.backends.detect import detect
from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.data.batch import TreeBatch, make_tree, pack
from swiftrl.data.builtin.load import path
from swiftrl.models.config import ModelConfig, TunerConfig
from swiftrl.models.load import load_model
from swiftrl.models.lora import add_lora
from swiftrl.models.processor import load_media_processor
from swiftrl.models.resolve import resolve
from swiftrl.rlhf.offline import dpo_loss
from swiftrl.rlhf.policy import Policy
from swiftrl.templates.template import Template

BETA = 0.1


def batches(template: Template, pictures: int, pairs: int) -> Iterator[TreeBatch]:
    """Yield batches of `pairs` pairs about `pictures` pictures each, for ever."""
    lines = path("vl-preferences").read_text("utf-8").splitlines()
    rows = itertools.cycle(json.loads(line) for line in lines)
    assert template.media is not None
    while True:
        trees = []
        for _ in range(pairs):
            some = [next(rows) for _ in range(pictures)]
            shown = tuple(Part("image", source=row["images"][0]) for row in some)
            asked = some[-1]["messages"][-2]["content"].replace("<image>", "")
            pair = template.encode_pair(
                Conversation((Message("user", (*shown, Part("text", text=asked))),)),
                [Message("assistant", some[-1]["messages"][-1]["content"])],
                [Message("assistant", some[-1]["rejected_response"])],
            )
            trees.append(make_tree(pair, media=template.media.tensors(pair[0].media)))
        yield pack(trees)


class Contestant:
    """A policy of one layout with its optimizer.

    Args:
        layout: "tree" or "rows".

    Attributes:
        cpu_s: processor seconds of each step.
        patches: patches that the encoder was given in the policy's pass of the last step.
    """

    def __init__(self, layout: str) -> None:
        torch.manual_seed(0)
        config = ModelConfig(model="builtin:tiny-vl", torch_dtype="float32")
        loaded = load_model(resolve("builtin:tiny-vl"), config, detect("cpu"))
        model = add_lora(loaded.model, TunerConfig(lora_dropout=0.0), loaded.spec)
        self.policy = Policy(model, layout=layout)
        self.policy.refer_to_itself()
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-4)
        self.cpu_s: list[float] = []
        self.patches = 0
        visual: Any = loaded.model.model.visual
        visual.patch_embed.register_forward_hook(self._count)

    def _count(self, _: Any, inputs: tuple[torch.Tensor, ...], __: Any) -> None:
        self.patches += len(inputs[0])

    def step(self, batch: TreeBatch) -> float:
        """Take one optimizer step; return the loss."""
        start = time.process_time()
        reference = self.policy.reference(batch)
        self.patches = 0
        logratio = self.policy.logprobs(batch).logps - reference
        sums = logratio.new_zeros(batch.num_sequences).index_add(0, batch.sequence_index, logratio)
        loss = dpo_loss(sums[::2], sums[1::2], beta=BETA).mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.cpu_s.append(time.process_time() - start)
        return float(loss.detach())


def main() -> None:
    """Run the steps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=16, help="of each pair")
    parser.add_argument("--pairs", type=int, default=4, help="of each step")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    resolved = resolve("builtin:tiny-vl")
    both = [Contestant("tree"), Contestant("rows")]
    loaded = load_model(resolved, ModelConfig(model="builtin:tiny-vl"), detect("cpu"))
    processor = load_media_processor(resolved, loaded.tokenizer)
    feed = batches(
        Template.load(loaded.tokenizer, processor=processor), options.pictures, options.pairs
    )
    furthest, patches = 0.0, 0
    for batch in itertools.islice(feed, options.warmup + options.steps):
        tree, rows = (contestant.step(batch) for contestant in both)
        furthest = max(furthest, abs(tree - rows))
        patches = sum(len(media["pixel_values"]) for media in batch.media)
    medians = [statistics.median(one.cpu_s[options.warmup :]) for one in both]
    print("| Layout | Processor time of a step | Patches encoded, of those given |")
    print("|---|---|---|")
    for name, one, median in zip(("tree", "rows"), both, medians, strict=True):
        print(f"| {name} | {median * 1000:.0f} ms | {one.patches / patches:.0f}x |")
    print(f"rows / tree: {medians[1] / medians[0]:.2f}; losses differ by {furthest:.1e} at most")


if __name__ == "__main__":
    main()
