"""Flags of ms-swift 4.6 that this version refuses, each with the reason and what to do."""

from __future__ import annotations

__all__ = ["QUANT", "why_refused"]

ONLINE = "belongs to a part of online reinforcement learning that this version does not have " \
    "(agents, CHORD, asynchronous rollouts); leave it out."  # fmt: skip
VLLM = "vLLM serves rollouts and deployment, which this version does not have; leave it out."
SCALE = "use --device_map and --max_memory, which spread a model over all devices."
QUANT = "belongs to swiftrl export; while loading, --quant_method nf4 or bnb quantises with " \
    "--quant_bits and bnb_4bit_*."  # fmt: skip
EXPORT = "belongs to swiftrl export."
TUNER = "this tuner is not part of this version; --tuner_type lora or full, with use_dora, "\
    "use_rslora or --init_weights."  # fmt: skip
OPTIMIZER = "this optimizer variant is not part of this version; --optim adamw."
LATER = "is not part of this version; leave it out."
PRECISION = "use --torch_dtype bfloat16, float16 or float32."
TEMPLATE = "templates always run as the model's own Jinja here; leave it out."
HUB = "pushing while training is not part of this version; push output_dir with the hub's client."
LOGGING = "metrics go to metrics.jsonl and to --report_to; leave it out."
LOADER = "batches are made in order in the background; leave it out."
DDP = "set up by the launcher; leave it out."

EXACT: dict[str, str] = {
    "packing": "samples always travel unpadded, several in one row: raise "
    "--per_device_train_batch_size instead.",
    "dataloader_num_workers": LOADER,
    "gradient_checkpointing_kwargs": "checkpointing is non-reentrant here; leave it out.",
    "use_logits_to_keep": "logits are never materialised here; leave it out.",
    "enable_npu_model_patch": "fused kernels of the hardware are used as they are; --fused_kernels "
    "false switches them off.",
    "attn_implementation": "use --attn_impl.",
    "trust_remote_code": "code from checkpoints is never run; use a model that transformers knows.",
    "do_train": "the command says what is done; leave it out.",
    "max_epochs": "use --num_train_epochs.",
    "dataset_num_workers": "use --dataset_num_proc.",
    "logging_dir": "TensorBoard files go to the run's folder, tensorboard/.",
    "full_determinism": "use --deterministic true.",
    "use_dft_loss": "use --enable_dft_loss.",
    "lr_scheduler_kwargs": "use --min_lr_ratio with --lr_scheduler_type cosine_with_min_lr.",
    "label_smoothing_factor": "for preference losses use --label_smoothing.",
    "neftune_noise_alpha": LATER,
    "resume_only_model": "use --adapters FOLDER to start from adapters without their optimizer.",
    "ignore_data_skip": "a resumed run goes on where it stopped; leave it out.",
    "download_mode": "use --load_from_cache_file false to encode afresh.",
    "cached_dataset": "encoded rows are cached by content; leave it out.",
    "logging_first_step": "the first step is always logged; leave it out.",
    "disable_tqdm": "progress is one line every ten seconds where there is no terminal.",
    "merge_lora": "merge first: swiftrl merge-lora --adapters FOLDER.",
    "quant_n_samples": EXPORT,
    "quant_batch_size": EXPORT,
    "group_size": EXPORT,
    "val_dataset_shuffle": "held-out rows are seen in order; leave it out.",
    "val_dataset_sample": "use #n behind --val_dataset.",
    "model_kwargs": LATER,
    "ignore_args_error": "a wrong flag is always an error; correct or remove it.",
    "load_args": "settings come from flags and files; pass the run's args.json first.",
    "disable_auto_column_mapping": "use --columns to rename what is detected wrongly.",
    "infer_backend": "the built-in engine generates in this version; leave it out.",
    "ref_model_type": "the reference is recognised from its folder; leave it out.",
    "zero_hpz_partition_size": "write it into the JSON file of --deepspeed.",
    "ds3_gather_for_generation": "all weights are gathered for generation; leave it out.",
    "load_in_4bit": "use --quant_method nf4 or bnb.",
    "load_in_8bit": "use --quant_method bnb --quant_bits 8.",
    "lora_dtype": "LoRA weights are kept in float32 and compute in --torch_dtype.",
}  # fmt: skip

ELSEWHERE = {
    "lr": "learning_rate", "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size", "grad_accum": "gradient_accumulation_steps",
    "epochs": "num_train_epochs", "num_epochs": "num_train_epochs", "data": "dataset",
    "train_dataset": "dataset", "train_file": "dataset", "train_data": "dataset",
    "eval_data": "val_dataset", "model_path": "model",
    "model_name_or_path": "model", "model_id_or_path": "model", "output": "output_dir",
    "r": "lora_rank", "lora_r": "lora_rank", "lora_target": "target_modules",
    "lora_target_modules": "target_modules", "sft_type": "tuner_type",
    "finetuning_type": "tuner_type", "stage": "rlhf_type", "pref_beta": "beta",
    "pref_loss": "loss_type", "cutoff_len": "max_length", "max_seq_length": "max_length",
    "max_len": "max_length", "custom_train_dataset_path": "dataset", "dtype": "torch_dtype",
    "early_stopping_patience": "early_stop_interval", "resume": "resume_from_checkpoint",
    "warmup": "warmup_ratio", "ref_model_path": "ref_model", "checkpoint": "adapters",
    "ckpt_dir": "adapters", "adapter_name_or_path": "adapters",
}  # fmt: skip
"""What other tools, and ms-swift before version 3, call settings of ours."""

PREFIXES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("vllm_", "sglang_", "lmdeploy_", "use_vllm", "async_generate", "sleep_level"), VLLM),
    (("device_groups",), SCALE),
    (("use_ray", "ray_", "parallelism_config", "accelerator_config", "use_flash_ckpt"), LATER),
    (("quant_", "bnb_", "hqq_"), QUANT),
    (("galore", "use_galore", "lisa_", "llamapro_", "optim_", "optimizer", "vit_lr",
      "aligner_lr"), OPTIMIZER),
    (("lora_ga_", "fourier_", "boft_", "vera_", "adapter_", "adalora_", "reft_", "use_swift_lora",
      "freeze_parameters", "trainable_parameters", "target_parameters", "tuner_backend"), TUNER),
    (("num_ppo", "kl_coef", "cliprange", "vf_coef", "whiten_rewards", "gamma", "lam", "num_mini",
      "local_rollout", "num_sample_generations", "response_length", "missing_eos", "generation_",
      "steps_per_generation", "epsilon", "delta", "cosine_m", "repetition_n", "repetition_max",
      "chord_", "multi_turn", "max_turns",
      "completion_length_limit", "use_gym", "gym_env", "overlong",
      "soft_", "scale_rewards", "log_entropy", "top_entropy", "importance_sampling", "tau_",
      "advantage_", "kl_in_reward", "rlsd_", "sdar_", "real_tau", "fipo_", "rollout_importance",
      "log_rollout", "off_policy", "num_generations", "reward_", "log_completions",
      "num_iterations", "move_model", "offload_", "enable_flattened", "wandb_log_unique",
      "max_completion_length", "num_generations_eval", "min_p"), ONLINE),
    (("teacher_", "offload_teacher"),
     "distillation takes its teacher from --teacher_model, in this process, in this version."),
    (("bf16", "fp16", "tf32", "half_precision"), PRECISION),
    (("padding_side", "use_chat_template", "norm_bbox", "preserve_thinking",
      "add_non_thinking_prefix", "disable_ignore_empty_think", "is_binary_loss_scale"), TEMPLATE),
    (("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "stream",
      "stop_words", "result_path", "max_batch_size"), "belongs to swiftrl infer."),
    (("max_shard_size", "exist_ok"), "belongs to swiftrl export and swiftrl merge-lora."),
    (("host", "port", "api_key", "served_model", "owned_by", "max_logprobs", "ssl_"),
     "belongs to swiftrl deploy."),
    (("eval_backend", "eval_dataset", "eval_generation", "eval_limit", "eval_num_proc",
      "eval_output", "eval_url"),
     "belongs to swiftrl eval."),
    (("extra_eval", "eval_use"), LATER),
    (("to_mcore", "mcore_", "test_convert", "save_missing", "template_mode", "commit_message"),
     LATER),
    (("vit_gradient",), LATER),
    (("push_to_hub", "hub_"), HUB),
    (("log_level", "log_on_each", "logging_strategy", "logging_nan", "include_", "trackio_",
      "project", "swanlab_", "debug", "skip_memory", "disable_log"), LOGGING),
    (("dataloader_", "group_by_length", "train_sampling", "length_column", "train_dataloader",
      "remove_unused", "label_names"), LOADER),
    (("ddp_find", "ddp_bucket", "ddp_broadcast", "ddp_static", "ddp_backend", "local_rank"), DDP),
)  # fmt: skip

OTHERS = """acc_strategy auto_find_batch_size average_tokens_across_devices callbacks
    create_checkpoint_symlink custom_register_path decision_drop_instructions
    decision_shuffle_fields decision_state_as_text decision_subsample_options do_eval do_predict
    enable_channel_loss enable_jit_checkpoint eval_accumulation_steps
    eval_delay eval_do_concat_batches eval_metric experts_impl
    init_strategy liger_kernel_config load_data_args local_repo_path
    logprobs max_model_len metric model_author model_name mrl_dims new_special_tokens num_beams
    num_labels optim_args packing_length packing_num_proc packing_strategy predict_with_generate
    prediction_loss_only problem_type ref_model_revision restore_callback_states_from_checkpoint
    rope_scaling router_aux_loss_coef save_on_each_node sortish_sampler
    structured_outputs_regex task_type top_logprobs torch_compile_backend torch_compile_mode
    torch_empty_cache_steps use_cache batch_eval_metrics cached_val_dataset
    reranker_use_activation write_batch_size
    to_ollama to_cached_dataset to_hf to_peft_format thread_count"""


def why_refused(name: str) -> str | None:
    """Return why a flag of ms-swift is refused, or None if ms-swift has no such flag either."""
    if name in EXACT:
        return EXACT[name]
    if name in ELSEWHERE:
        return f"is called --{ELSEWHERE[name]} here."
    for prefixes, reason in PREFIXES:
        if name.startswith(prefixes):
            return reason
    return LATER if name in OTHERS.split() else None
