"""Log-probabilities of given tokens by swiftrl's own loader; arguments as of quant_reader.py."""

import json
import sys


def main(folder: str, rows: str, output: str) -> None:
    from swiftrl.backends.detect import BACKENDS
    from swiftrl.cli.loading import find_model, load
    from swiftrl.models.config import ModelConfig

    BACKENDS.get("cpu").default_env("infer")
    import torch

    config = ModelConfig(model=folder, use_cpu=True, torch_dtype="bfloat16")
    model = load(config, find_model(config)).model
    found = []
    with open(rows) as file, torch.no_grad():
        for row in json.load(file):
            ids = torch.tensor([row])
            logits = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
            found.append(logits[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist())
    with open(output, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
