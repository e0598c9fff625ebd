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
    from importlib import import_module

    import torch

    package: Any = import_module("gptqmodel")
    settings_of: Any = import_module("gptqmodel.quantization.config")
    formats, kernels_of = settings_of.FORMAT, package.BACKEND
    awq = request["method"] == "awq"
    settings: dict[str, Any] = {
        "bits": request["bits"],
        "group_size": request["group_size"],
        "sym": request["symmetric"],
        "dynamic": {f"-:.*{re.escape(name)}$": {} for name in request["skipped"]} or None,
    }
    if awq:
        config = settings_of.AWQConfig(format=formats.GEMM, **settings)
    else:
        if request["damp_percent"] is not None:
            settings["damp_percent"] = request["damp_percent"]
        form = formats.GPTQ_V2 if request["format"] == "gptq_v2" else formats.GPTQ
        config = settings_of.GPTQConfig(format=form, desc_act=request["desc_act"], **settings)
    dtype = getattr(torch, request["dtype"])
    model = package.GPTQModel.load(request["model"], config, device=request["device"], dtype=dtype)
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in request["rows"]]
    kernels = {}
    if request["device"] == "cpu":
        kernels = {"backend": kernels_of.AWQ_TORCH if awq else kernels_of.GPTQ_TORCH}
    model.quantize(rows, calibration_sort=None, batch_size=1, **kernels)
    model.save(request["output"], max_shard_size=request["max_shard_size"])
