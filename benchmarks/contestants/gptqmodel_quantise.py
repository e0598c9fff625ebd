"""GPTQModel's quantisation, with its defaults where the benchmark does not say otherwise.

`gptqmodel_quantise.py MODEL ROWS OUTPUT '{"method": "gptq", "bits": 4, ...}'`; ROWS is a JSON list
of lists of token ids.
"""

import json
import sys


def config(options: dict):
    """GPTQModel's settings from ours: method, format, bits, group_size, desc_act."""
    from gptqmodel.quantization.config import FORMAT, AWQConfig, GPTQConfig

    words = {"bits": options.get("bits", 4), "group_size": options.get("group_size", 128)}
    if options.get("method", "gptq") == "awq":
        return AWQConfig(sym=False, format=FORMAT.GEMM, **words)
    form = FORMAT.GPTQ_V2 if options.get("format") == "gptq_v2" else FORMAT.GPTQ
    words |= {key: options[key] for key in ("desc_act", "act_group_aware") if key in options}
    return GPTQConfig(sym=options.get("sym", True), format=form, **words)


def main(model: str, rows: str, output: str, options: str) -> None:
    import torch
    from gptqmodel import BACKEND, GPTQModel

    given = json.loads(options)
    with open(rows) as file:
        ids = json.load(file)
    chosen = GPTQModel.load(model, config(given), device="cpu", dtype=torch.bfloat16)
    backend = BACKEND.AWQ_TORCH if given.get("method") == "awq" else BACKEND.GPTQ_TORCH
    calibration = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ids]
    chosen.quantize(calibration, calibration_sort=None, batch_size=1, backend=backend)
    chosen.save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
