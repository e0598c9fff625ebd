"""TRL's DPOTrainer, with its defaults where the benchmark does not say otherwise."""

import sys
from pathlib import Path

from turns import Turns, trainer_callback


def main(address: str, folder: str, name: str, steps: str) -> None:
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    path = Path(folder)
    turns = Turns(address, name)
    settings = {"precompute_ref_log_probs": True} if name == "trl-precomputed" else {}
    DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(path / "model", dtype=torch.bfloat16),
        args=DPOConfig(
            output_dir=str(path / "output" / name),
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
            **settings,
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
        callbacks=[trainer_callback(TrainerCallback, turns)()],
    ).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
