"""TRL's KTO, ORPO and reward trainers, with their defaults but for what the benchmark says."""

import sys
from pathlib import Path
from typing import Any

from turns import Turns, trainer_callback


def classes(kind: str) -> tuple[Any, Any]:
    """Return TRL's trainer and the class of its settings."""
    if kind == "kto":
        from trl import KTOConfig, KTOTrainer

        return KTOTrainer, KTOConfig
    if kind == "orpo":
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        return ORPOTrainer, ORPOConfig
    from trl import RewardConfig, RewardTrainer

    return RewardTrainer, RewardConfig


def load(folder: Path, kind: str) -> Any:
    """Return the model, with a head of one score for a reward model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    if kind == "rm":
        return AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.bfloat16, num_labels=1
        )
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)


def main(address: str, folder: str, name: str, steps: str, kind: str) -> None:
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, TrainerCallback

    path = Path(folder)
    turns = Turns(address, name)
    trainer, config = classes(kind)
    rows = path / ("labelled.jsonl" if kind == "kto" else "text.jsonl")
    trainer(
        model=load(path / "model", kind),
        args=config(
            output_dir=str(path / "output" / f"{name}-{kind}"),
            per_device_train_batch_size=4,
            gradient_accumulation_steps=1,
            gradient_checkpointing=False,
            max_steps=int(steps),
            max_length=4096,
            learning_rate=1e-4,
            bf16=True,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1000,
            seed=1,
        ),
        train_dataset=load_dataset("json", data_files=str(rows), split="train"),
        processing_class=AutoTokenizer.from_pretrained(path / "model"),
        peft_config=LoraConfig(
            r=8,
            lora_alpha=32,
            lora_dropout=0.0,
            target_modules="all-linear",
            modules_to_save=["score"] if kind == "rm" else None,
            task_type="SEQ_CLS" if kind == "rm" else "CAUSAL_LM",
        ),
        callbacks=[trainer_callback(TrainerCallback, turns)()],
    ).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
