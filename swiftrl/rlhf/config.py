"""Settings of training."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["ReferenceConfig", "TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """Training."""

    output_dir: str = setting("output", "Folder for checkpoints, metrics and settings.")
    add_version: bool = setting(
        True, "Write into a new sub-folder v0-DATE-TIME, v1-... of --output_dir."
    )
    resume_from_checkpoint: str | None = setting(
        None, "A checkpoint-N folder, or a run's folder (its newest whole checkpoint)."
    )
    per_device_train_batch_size: int = setting(
        1, "Rows (a preference pair is one row) a forward pass, each device."
    )
    per_device_eval_batch_size: int | None = setting(None, "The same for evaluation.")
    gradient_accumulation_steps: int | None = setting(
        None, "Forward passes an optimizer step. Unset: as many as make 16 rows over all devices."
    )
    num_train_epochs: float = setting(3.0, "Passes over the data.")
    max_steps: int | None = setting(None, "Optimizer steps; wins over --num_train_epochs.")
    learning_rate: float | None = setting(
        None, "Peak learning rate. Unset: 1e-4 for LoRA, 1e-5 for full training."
    )
    lr_scheduler_type: str = setting(
        "cosine",
        "Shape of the learning rate after warm-up.",
        choices=("cosine", "linear", "constant", "cosine_with_min_lr", "wsd"),
    )
    min_lr_ratio: float = setting(0.1, "Last learning rate over the peak, for cosine_with_min_lr.")
    warmup_ratio: float = setting(0.0, "Share of the steps in which the learning rate rises.")
    warmup_steps: int = setting(0, "The same in steps; wins over --warmup_ratio.")
    optim: str = setting("adamw", "Optimizer.", choices=("adamw", "sgd"))
    lorap_lr_ratio: float | None = setting(
        None,
        "LoRA's second matrices learn this many times faster (LoRA+, arXiv:2402.12354); 16 is "
        "usual. Unset: as fast as the first.",
    )
    weight_decay: float = setting(0.1, "Weight decay of matrices; vectors have none.")
    adam_beta1: float = setting(0.9, "Decay of Adam's first moment.")
    adam_beta2: float = setting(0.95, "Decay of Adam's second moment.")
    adam_epsilon: float = setting(1e-8, "Adam's epsilon.")
    max_grad_norm: float = setting(1.0, "Clip the gradient to this norm; 0 leaves it alone.")
    gradient_checkpointing: bool = setting(
        True, "Recompute activations in the backward pass: less memory, a third more work."
    )
    layout: str = setting(
        "auto",
        "How a batch is laid out: tree (shared prompts run once), rows (padded), or auto.",
        choices=("auto", "tree", "rows"),
    )
    fused_kernels: bool = setting(
        True,
        "Run chains of small operations, mixtures of experts and tree attention as fused ones, of "
        "this package and of the hardware's libraries. Each is tried out against the plain one "
        "first. false: plain PyTorch.",
    )
    use_liger_kernel: bool = setting(
        False,
        "Run norms, gated MLPs and rotary embeddings by Liger's kernels (GPUs; needs "
        "swiftrl[liger]).",
    )
    torch_compile: bool = setting(
        False,
        "Compile the decoder layers, one by one. Replaces the fused operations of this package, "
        "except attention.",
    )
    activation_cpu_offload: bool = setting(
        False,
        "Keep what the backward pass needs in the host's memory meanwhile. With "
        "--gradient_checkpointing: the inputs of the layers.",
    )
    logging_steps: int = setting(5, "Steps between lines of metrics.")
    eval_strategy: str | None = setting(
        None,
        "When to evaluate. Unset: steps where there is held-out data.",
        choices=("no", "steps", "epoch"),
    )
    eval_steps: int | None = setting(None, "Steps between evaluations. Unset: --save_steps.")
    eval_on_start: bool = setting(True, "Evaluate once before the first step.")
    save_strategy: str = setting(
        "steps", "When to save a checkpoint.", choices=("no", "steps", "epoch")
    )
    save_steps: int = setting(500, "Steps between checkpoints; the last step is always saved.")
    save_total_limit: int | None = setting(
        None, "Checkpoints to keep; the best one and the last one are always kept."
    )
    save_only_model: bool = setting(
        False, "Leave optimizer and random state out: smaller, but not resumable."
    )
    load_best_model_at_end: bool = setting(
        False, "End with the best checkpoint's weights instead of the last one's."
    )
    metric_for_best_model: str = setting("loss", "Held-out metric that decides which is best.")
    greater_is_better: bool | None = setting(
        None, "Unset: false for metrics named loss, true for others."
    )
    early_stop_interval: int | None = setting(
        None, "Stop after this many evaluations in a row without a new best."
    )
    report_to: list[str] = setting(
        [],
        "Besides metrics.jsonl, send metrics to these.",
        choices=("tensorboard", "wandb", "swanlab", "none"),
    )
    run_name: str | None = setting(None, "Name of the run in those. Unset: the folder's name.")
    seed: int = setting(42, "Seed of everything random.")
    ddp_timeout: int = setting(
        1800,
        "Seconds that one process may wait for the others while training, before all end; ten "
        "times as long while the main one downloads or encodes.",
    )
    ddp_start_timeout: int = setting(600, "Seconds to wait for all processes at the start.")
    deterministic: bool = setting(
        False, "Refuse operations whose result varies from run to run on this hardware."
    )


@dataclass(frozen=True)
class ReferenceConfig:
    """Reference model."""

    ref_model: str | None = setting(
        None,
        "Reference model. Unset: the model itself as it was before training (with LoRA the "
        "adapters are switched off, without a second copy).",
    )
    ref_adapters: list[str] = setting(
        [], "Adapters of the reference. With --adapters and LoRA: usually the same folders."
    )
    precompute_ref_log_probs: bool = setting(
        False,
        "Compute the reference's log-probabilities once, before training, and keep them on "
        "disk: the reference then costs neither time nor memory while training.",
    )
    sync_ref_model: bool = setting(
        False, "Let the reference follow the policy (TR-DPO, arXiv:2404.09656)."
    )
    ref_model_mixup_alpha: float | None = setting(
        None,
        "Share of the policy in each update of the reference. Unset: 0.6, and 1 with LoRA, whose "
        "matrices cannot be mixed.",
    )
    ref_model_sync_steps: int = setting(512, "Optimizer steps between these updates.")
