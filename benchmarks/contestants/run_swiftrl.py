"""swiftrl's `swiftrl rlhf`, with its defaults where the benchmark does not say otherwise."""

import sys
from pathlib import Path
from typing import Any

from turns import Turns


def main(address: str, folder: str, name: str, steps: str, kind: str = "dpo") -> None:
    from swiftrl.backends.detect import BACKENDS
    from swiftrl.cli.main import main as swiftrl

    # As the command does before torch is imported, which the next line does.
    BACKENDS.get("cpu").default_env("train")
    from swiftrl.rlhf.trainer import Trainer

    path = Path(folder)
    turns = Turns(address, name)
    train, after_step = Trainer._train, Trainer._after_step

    def wait_and_train(self: Trainer, *args: Any) -> Any:
        turns.wait()
        return train(self, *args)

    def wait_after_step(self: Trainer, *args: Any, **kwargs: Any) -> bool:
        if self.state.step == 1:
            print(self.policy.layout, flush=True)
        ends = after_step(self, *args, **kwargs)
        turns.done()
        return ends

    Trainer._train, Trainer._after_step = wait_and_train, wait_after_step
    flags = {
        "rlhf_type": kind,
        "model": path / "model",
        "dataset": path / ("labelled.jsonl" if kind == "kto" else "chat.jsonl"),
        "tuner_type": "lora",
        "lora_rank": 8,
        "lora_alpha": 32,
        "lora_dropout": 0,
        "target_modules": "all-linear",
        "torch_dtype": "bfloat16",
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": "false",
        "max_steps": steps,
        "max_length": 4096,
        "learning_rate": 1e-4,
        "use_cpu": "true",
        "save_strategy": "no",
        "logging_steps": 1000,
        "output_dir": path / "output" / name,
    }
    swiftrl(["rlhf", *(word for key, value in flags.items() for word in (f"--{key}", str(value)))])


if __name__ == "__main__":
    main(*sys.argv[1:])
