"""Multimodal models whose code is not in transformers: known by name, not loadable without it."""

from __future__ import annotations

from swiftrl.models.spec import HubId, ModelSpec, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="megrez_omni",
        architectures=("MegrezO",),
        hub_ids=(HubId("InfiniAI/Megrez-3B-Omni", "Infinigence/Megrez-3B-Omni"),),
        modalities=("text", "image", "audio"),
    ),
    ModelSpec(
        name="jina_reranker_m0",
        architectures=("JinaRerankerM0ForConditionalGeneration",),
        hub_ids=same_ids("JinaAI/jina-reranker-m0"),
        modalities=("text", "image"),
        capabilities=("reranker",),
    ),
    ModelSpec(
        name="keye_vl",
        architectures=("KeyeForConditionalGeneration",),
        hub_ids=same_ids("Kwai-Keye/Keye-VL-8B-Preview"),
        modalities=("text", "image", "video"),
    ),
    ModelSpec(
        name="keye_vl_1_5",
        architectures=("KeyeVL1_5ForConditionalGeneration",),
        hub_ids=same_ids("Kwai-Keye/Keye-VL-1_5-8B"),
        modalities=("text", "image", "video"),
    ),
    ModelSpec(
        name="dots_ocr",
        architectures=("DotsOCRForCausalLM",),
        hub_ids=same_ids("rednote-hilab/dots.ocr"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="sail_vl2",
        architectures=("SAILVLModel",),
        hub_ids=same_ids(
            "BytedanceDouyinContent/SAIL-VL2-2B",
            "BytedanceDouyinContent/SAIL-VL2-2B-Thinking",
            "BytedanceDouyinContent/SAIL-VL2-8B",
            "BytedanceDouyinContent/SAIL-VL2-8B-Thinking",
        ),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="moss_vl",
        architectures=("MossVLForConditionalGeneration",),
        hub_ids=(
            HubId("openmoss/MOSS-VL-Instruct-0708", "OpenMOSS-Team/MOSS-VL-Instruct-0708"),
            HubId("openmoss/MOSS-VL-Base-0708", "OpenMOSS-Team/MOSS-VL-Base-0708"),
        ),
        modalities=("text", "image", "video"),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="mplug_owl3",
        architectures=("mPLUGOwl3Model",),
        hub_ids=(
            HubId("iic/mPLUG-Owl3-1B-241014", "mPLUG/mPLUG-Owl3-1B-241014"),
            HubId("iic/mPLUG-Owl3-2B-241014", "mPLUG/mPLUG-Owl3-2B-241014"),
            HubId("iic/mPLUG-Owl3-7B-240728", "mPLUG/mPLUG-Owl3-7B-240728"),
            HubId("iic/mPLUG-Owl3-7B-241101", "mPLUG/mPLUG-Owl3-7B-241101"),
        ),
        modalities=("text", "image", "video"),
    ),
    ModelSpec(
        name="doc_owl2",
        architectures=("mPLUGDocOwl2",),
        hub_ids=(HubId("iic/DocOwl2", "mPLUG/DocOwl2"),),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="h2ovl",
        architectures=("H2OVLChatModel",),
        hub_ids=only_huggingface("h2oai/h2ovl-mississippi-800m", "h2oai/h2ovl-mississippi-2b"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="bee",
        architectures=("BeeForConditionalGeneration",),
        hub_ids=only_huggingface("Open-Bee/Bee-8B-RL", "Open-Bee/Bee-8B-SFT"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="isaac",
        architectures=("IsaacForConditionalGeneration",),
        hub_ids=only_huggingface("PerceptronAI/Isaac-0.1"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="kanana_v",
        architectures=("KananaVForConditionalGeneration",),
        hub_ids=only_huggingface("kakaocorp/kanana-1.5-v-3b-instruct"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="nvlm_d",
        architectures=("NVLM_D_Model",),
        hub_ids=only_huggingface("nvidia/NVLM-D-72B"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="skywork_r1v",
        architectures=("SkyworkR1VChatModel",),
        hub_ids=same_ids("Skywork/Skywork-R1V-38B"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="r_vl",
        architectures=("RForConditionalGeneration",),
        hub_ids=only_huggingface("YannQi/R-4B"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="opencua",
        architectures=("OpenCUAForConditionalGeneration",),
        hub_ids=only_huggingface("xlangai/OpenCUA-7B"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="llama_nemotron_vl",
        architectures=("Llama_Nemotron_Nano_VL",),
        hub_ids=only_huggingface("nvidia/Llama-3.1-Nemotron-Nano-VL-8B-V1"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="eagle2_5_vl",
        architectures=("Eagle2_5_VLForConditionalGeneration",),
        hub_ids=only_huggingface("nvidia/Eagle2.5-8B"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="hcx_vision",
        architectures=("HCXVisionForCausalLM",),
        hub_ids=only_huggingface("naver-hyperclovax/HyperCLOVAX-SEED-Vision-Instruct-3B"),
        modalities=("text", "image", "video"),
    ),
    ModelSpec(
        name="moondream3",
        architectures=("Moondream3ForCausalLM",),
        hub_ids=same_ids("moondream/moondream3-preview"),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="intern_s1_pro",
        architectures=("InternS1ProForConditionalGeneration",),
        hub_ids=(HubId("Shanghai_AI_Laboratory/Intern-S1-Pro", "internlm/Intern-S1-Pro"),),
        modalities=("text", "image", "video"),
    ),
    ModelSpec(
        name="intern_s2_preview",
        architectures=("InternS2PreviewForConditionalGeneration",),
        hub_ids=(HubId("Shanghai_AI_Laboratory/Intern-S2-Preview", "internlm/Intern-S2-Preview"),),
        modalities=("text", "image", "video"),
    ),
)
