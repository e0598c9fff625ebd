"""swiftrl's `swiftrl rlhf` on a random model that is made on the device.

Two functions stand in for finding and reading weights, which are not on disk; all else is the
command as users run it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from timing import Timing


def main(folder: str, name: str, device_type: str, *words: str) -> None:
    from swiftrl.backends.detect import BACKENDS
    from swiftrl.cli.main import main as swiftrl

    if device_type == "cpu":
        BACKENDS.get("cpu").default_env("train")
    from gpu_models import config_of, make, make_nf4

    from swiftrl.cli import build
    from swiftrl.models.load import LoadedModel, load_tokenizer
    from swiftrl.models.resolve import Resolved
    from swiftrl.rlhf.trainer import Trainer

    path = Path(folder)
    four_bits = "nf4" in words
    words = tuple(word for word in words if word != "nf4")

    def find_model(config: Any) -> Resolved:
        stored = json.loads((path / "model" / "config.json").read_text())
        return Resolved(path / "model", name, None, stored)

    def load_model(resolved: Resolved, config: Any, backend: Any, **_: Any) -> LoadedModel:
        made = make_nf4 if four_bits else make
        model = made(config_of(name), backend.current_device())
        model.name_or_path = model.config.name_or_path = str(resolved.path)
        return LoadedModel(
            model, load_tokenizer(resolved), None, None, resolved.path, resolved.name
        )

    build.find_model, build.load_model = find_model, load_model
    timing = Timing(device_type, path / f"swiftrl-{name}.json")
    after_step = Trainer._after_step

    def timed(self: Trainer, *args: Any, **kwargs: Any) -> bool:
        timing.step()
        return after_step(self, *args, **kwargs)

    Trainer._after_step = timed
    code = swiftrl([
        "rlhf", "--rlhf_type", "dpo", "--model", str(path / "model"),
        "--dataset", str(path / "chat.jsonl"), "--output_dir", str(path / "output"),
        "--cache_dir", str(path / "cache"), "--save_strategy", "no", *words,
    ])  # fmt: skip
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
