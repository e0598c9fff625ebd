"""Log-probabilities of given tokens by somebody's reading of a folder.

`quant_reader.py READER FOLDER ROWS OUTPUT`, READER one of READERS; ROWS is a JSON list of lists of
token ids; OUTPUT gets a JSON list of the log-probabilities of each row's tokens but its first.
"""

import json
import os
import sys


def _of_logits(model, rows):
    import torch

    found = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row])
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].float()
            found.append(logits.log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist())
    return found


def by_transformers(folder, rows):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map="cpu")
    kinds = {type(module).__name__ for module in model.modules()}
    print("modules:", ", ".join(sorted(k for k in kinds if "Linear" in k or "Quant" in k)))
    return _of_logits(model, rows)


def by_gptqmodel(folder, rows):
    import torch
    from gptqmodel import BACKEND, GPTQModel

    with open(os.path.join(folder, "config.json")) as file:
        awq = json.load(file)["quantization_config"]["quant_method"] == "awq"
    backend = BACKEND.AWQ_TORCH if awq else BACKEND.GPTQ_TORCH
    model = GPTQModel.load(folder, device="cpu", backend=backend, dtype=torch.bfloat16)
    return _of_logits(model.model, rows)


def by_vllm(folder, rows):
    from vllm import LLM, SamplingParams

    engine = LLM(
        folder, enforce_eager=True, dtype="bfloat16", max_model_len=512, disable_log_stats=True
    )
    wanted = SamplingParams(max_tokens=1, prompt_logprobs=1, temperature=0.0)
    replies = engine.generate([{"prompt_token_ids": row} for row in rows], wanted, use_tqdm=False)
    found = []
    for row, reply in zip(rows, replies, strict=True):
        places = zip(row[1:], reply.prompt_logprobs[1:], strict=True)
        found.append([place[token].logprob for token, place in places])
    return found


READERS = {"transformers": by_transformers, "gptqmodel": by_gptqmodel, "vllm": by_vllm}


def main(reader: str, folder: str, rows: str, output: str) -> None:
    with open(rows) as file:
        given = json.load(file)
    found = READERS[reader](folder, given)
    with open(output, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
