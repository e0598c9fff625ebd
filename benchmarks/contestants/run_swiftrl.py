"""swiftrl's policy in a plain loop."""

import json
import sys
from pathlib import Path

from turns import Turns


def main(address: str, folder: str, name: str, steps: str) -> None:
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from swiftrl.data.batch import make_tree, pack
    from swiftrl.rlhf.policy import Policy
    from swiftrl.templates.encoding import Encoded

    path = Path(folder)
    turns = Turns(address, name)
    tokenizer = AutoTokenizer.from_pretrained(path / "model")
    model = AutoModelForCausalLM.from_pretrained(path / "model", dtype=torch.bfloat16)
    lora = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    policy = Policy(model, compute_dtype=torch.bfloat16)
    policy.refer_to_itself()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)
    trees = []
    for line in (path / "text.jsonl").read_text().splitlines():
        row = json.loads(line)
        prompt = tokenizer(row["prompt"]).input_ids
        sequences = []
        for reply in (row["chosen"], row["rejected"]):
            ids = [*tokenizer(reply).input_ids, tokenizer.eos_token_id]
            loss = np.r_[np.zeros(len(prompt)), np.ones(len(ids))]
            sequences.append(
                Encoded(np.array(prompt + ids, dtype=np.int32), loss.astype(np.float32))
            )
        trees.append(make_tree(sequences))
    model.train()
    turns.wait()
    for step in range(int(steps)):
        batch = pack(trees[4 * step : 4 * step + 4])
        ratio_N = -policy.reference(batch)
        ratio_N = policy.logprobs(batch).logps + ratio_N
        ratio_B = torch.zeros(8).index_add(0, batch.sequence_index, ratio_N)
        torch.nn.functional.softplus(-0.1 * (ratio_B[::2] - ratio_B[1::2])).mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        turns.done()


if __name__ == "__main__":
    main(*sys.argv[1:])
