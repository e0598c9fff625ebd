"""TRL's DPOTrainer on the same random model, made on the device."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from timing import Timing


def main(
    folder: str, name: str, device_type: str, rows: str, steps: str, checkpointing: str
) -> None:
    import torch
    from datasets import load_dataset
    from gpu_models import config_of, make
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    path = Path(folder)
    timing = Timing(device_type, path / f"trl-{name}.json")

    class Timed(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            timing.step()

    DPOTrainer(
        model=make(config_of(name), torch.device(device_type)),
        args=DPOConfig(
            output_dir=str(path / "output-trl"),
            per_device_train_batch_size=int(rows),
            gradient_accumulation_steps=1,
            gradient_checkpointing=checkpointing == "true",
            max_steps=int(steps),
            max_length=8192,
            learning_rate=1e-4,
            bf16=True,
            use_cpu=device_type == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1000,
            seed=1,
        ),
        train_dataset=load_dataset("json", data_files=str(path / "text.jsonl"), split="train"),
        processing_class=AutoTokenizer.from_pretrained(path / "model"),
        peft_config=LoraConfig(
            r=8,
            lora_alpha=32,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[Timed()],
    ).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
