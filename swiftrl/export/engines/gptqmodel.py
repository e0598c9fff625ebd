"""GPTQModel: GPTQ in both versions of its layout, and AWQ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swiftrl.export.engine import EngineFacts

__all__ = ["ENGINE", "quantise"]

ENGINE: EngineFacts = {
    "package": "gptqmodel",
    "imports": "gptqmodel",
    "writes": {"gptq": ("gptq", "gptq_v2"), "awq": ("awq",)},
    "takes": ("desc_act", "damp_percent", "modules_to_not_convert"),
    "environment": {"GPTQMODEL_CPU_WORKERS": "2"},
    "note": "",
}


def quantise(request: dict[str, Any]) -> None:
    """Quantise the model of a request and write it."""
    import re

    import torch
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.quantization.config import FORMAT, AWQConfig, GPTQConfig

    awq = request["method"] == "awq"
    settings: dict[str, Any] = {
        "bits": request["bits"],
        "group_size": request["group_size"],
        "sym": request["symmetric"],
        "dynamic": {f"-:.*{re.escape(name)}$": {} for name in request["skipped"]} or None,
    }
    if awq:
        config = AWQConfig(format=FORMAT.GEMM, **settings)
    else:
        if request["damp_percent"] is not None:
            settings["damp_percent"] = request["damp_percent"]
        form = FORMAT.GPTQ_V2 if request["format"] == "gptq_v2" else FORMAT.GPTQ
        config = GPTQConfig(format=form, desc_act=request["desc_act"], **settings)
    dtype = getattr(torch, request["dtype"])
    model = GPTQModel.load(request["model"], config, device=request["device"], dtype=dtype)
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in request["rows"]]
    kernels = {}
    if request["device"] == "cpu":
        kernels = {"backend": BACKEND.AWQ_TORCH if awq else BACKEND.GPTQ_TORCH}
    model.quantize(rows, calibration_sort=None, batch_size=1, **kernels)
    model.save(request["output"], max_shard_size=request["max_shard_size"])
