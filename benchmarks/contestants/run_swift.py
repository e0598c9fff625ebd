"""ms-swift's `swift rlhf`, with its defaults where the benchmark does not say otherwise."""

import sys
from pathlib import Path

from turns import Turns, trainer_callback


def main(address: str, folder: str, name: str, steps: str) -> None:
    from swift.callbacks import TrainerCallback, callbacks_map
    from swift.pipelines import rlhf_main

    path = Path(folder)
    callbacks_map["turns"] = trainer_callback(TrainerCallback, Turns(address, name))
    flags = {
        "rlhf_type": "dpo",
        "model": path / "model",
        "model_type": "qwen2",
        "template": "dummy",
        "dataset": path / "chat.jsonl",
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
        "dataloader_num_workers": 0,
        "load_from_cache_file": "false",
        "report_to": "none",
        "callbacks": "turns",
        "output_dir": path / "output" / name,
    }
    rlhf_main([word for key, value in flags.items() for word in (f"--{key}", str(value))])


if __name__ == "__main__":
    main(*sys.argv[1:])
