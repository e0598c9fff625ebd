"""Text models whose code is not in transformers: known by name, not loadable without it."""

from __future__ import annotations

from swiftrl.models.spec import HubId, ModelSpec, only_huggingface, only_modelscope, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="yuan2",
        architectures=("YuanForCausalLM",),
        hub_ids=(
            *same_ids("IEITYuan/Yuan2-2B-Janus-hf", "IEITYuan/Yuan2-M32-hf"),
            HubId("IEITYuan/Yuan2.0-2B-hf", "IEITYuan/Yuan2-2B-hf"),
            HubId("IEITYuan/Yuan2.0-51B-hf", "IEITYuan/Yuan2-51B-hf"),
            HubId("IEITYuan/Yuan2.0-102B-hf", "IEITYuan/Yuan2-102B-hf"),
        ),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="orion",
        architectures=("OrionForCausalLM",),
        hub_ids=same_ids(
            "OrionStarAI/Orion-14B-Chat",
            "OrionStarAI/Orion-14B-Base",
            "OrionStarAI/Orion-14B-LongChat",
            "OrionStarAI/Orion-14B-Chat-RAG",
            "OrionStarAI/Orion-14B-Chat-Plugin",
        ),
        template="orion",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="bluelm",
        architectures=("BlueLMForCausalLM",),
        hub_ids=same_ids(
            "vivo-ai/BlueLM-7B-Chat-32K",
            "vivo-ai/BlueLM-7B-Chat",
            "vivo-ai/BlueLM-7B-Base-32K",
            "vivo-ai/BlueLM-7B-Base",
        ),
        template="bluelm",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="xverse",
        architectures=("XverseForCausalLM",),
        hub_ids=same_ids(
            "xverse/XVERSE-7B-Chat",
            "xverse/XVERSE-7B",
            "xverse/XVERSE-13B",
            "xverse/XVERSE-13B-Chat",
            "xverse/XVERSE-65B",
            "xverse/XVERSE-65B-2",
            "xverse/XVERSE-65B-Chat",
            "xverse/XVERSE-13B-256K",
            "xverse/XVERSE-MoE-A4.2B",
        ),
        template="xverse",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="skywork",
        architectures=("SkyworkForCausalLM",),
        hub_ids=(
            HubId("skywork/Skywork-13B-base", "Skywork/Skywork-13B-base"),
            HubId("skywork/Skywork-13B-chat", "Skywork/Skywork-13B-Chat"),
        ),
        template="skywork",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="telechat",
        architectures=("TelechatForCausalLM", "TeleChatForCausalLM"),
        hub_ids=(
            HubId("TeleAI/TeleChat-52B", "Tele-AI/TeleChat-52B"),
            HubId("TeleAI/TeleChat-7B", "Tele-AI/telechat-7B"),
            HubId("TeleAI/TeleChat-12B", "Tele-AI/TeleChat-12B"),
            HubId("TeleAI/TeleChat-12B-v2", "Tele-AI/TeleChat-12B-v2"),
            HubId("TeleAI/TeleChat2-35B", "Tele-AI/TeleChat2-35B"),
            HubId("TeleAI/TeleChat2-115B", "Tele-AI/TeleChat2-115B"),
            HubId("TeleAI/TeleChat-1B", "Tele-AI/TeleChat-1B"),
            *only_modelscope("swift/TeleChat-12B-V2-GPTQ-Int4"),
        ),
        template="telechat",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="telechat2",
        architectures=("TeleChat2ForCausalLM",),
        hub_ids=(
            HubId("TeleAI/TeleChat2-3B", "Tele-AI/TeleChat2-3B"),
            HubId("TeleAI/TeleChat2-7B-32K", "Tele-AI/TeleChat2-7B-32K"),
            HubId("TeleAI/TeleChat2-35B-32K", "Tele-AI/TeleChat2-35B-32K"),
            HubId("TeleAI/TeleChat2-35B-Nov", "Tele-AI/TeleChat2-35B-Nov"),
            HubId("TeleAI/TeleChat2-7B", "Tele-AI/TeleChat2-7B"),
        ),
        template="telechat2",
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="grok",
        architectures=("Grok1ModelForCausalLM",),
        hub_ids=(HubId("colossalai/grok-1-pytorch", "hpcai-tech/grok-1"),),
        capabilities=("base",),
    ),
    ModelSpec(
        name="iquestcoder",
        architectures=("IQuestCoderForCausalLM",),
        hub_ids=same_ids(
            "IQuestLab/IQuest-Coder-V1-40B-Base-Stage1",
            "IQuestLab/IQuest-Coder-V1-40B-Base",
            "IQuestLab/IQuest-Coder-V1-40B-Instruct",
        ),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="spark2_5",
        architectures=("Spark2_5ForCausalLM",),
        hub_ids=same_ids(
            "XHToken/Spark-X2.5-1.7B-Base",
            "XHToken/Spark-X2.5-1.7B",
            "XHToken/Spark-X2.5-4B-Base",
            "XHToken/Spark-X2.5-4B",
        ),
        capabilities=("base", "chat"),
    ),
    ModelSpec(
        name="xing4_0",
        architectures=("Xing4_0ForCausalLM",),
        hub_ids=same_ids("XingChen-AGI/Xing4.0-29B-A4B"),
        capabilities=("base",),
    ),
    ModelSpec(
        name="arctic",
        architectures=("ArcticForCausalLM",),
        hub_ids=only_huggingface(
            "Snowflake/snowflake-arctic-base", "Snowflake/snowflake-arctic-instruct"
        ),
    ),
    ModelSpec(
        name="plamo3",
        architectures=("Plamo3ForCausalLM",),
        hub_ids=only_huggingface("pfnet/plamo-3-nict-2b-base", "pfnet/plamo-3-nict-8b-base"),
    ),
    ModelSpec(
        name="solar",
        architectures=("SolarForCausalLM",),
        hub_ids=same_ids("upstage/solar-pro-preview-instruct"),
    ),
    ModelSpec(
        name="telechat3",
        architectures=("TeleChat3ForCausalLM",),
        hub_ids=(
            HubId("TeleAI/TeleChat3-36B-Thinking", "Tele-AI/TeleChat3-36B-Thinking"),
            HubId("TeleAI/TeleChat3-Coder-36B-Thinking", "Tele-AI/TeleChat3-Coder-36B-Thinking"),
        ),
    ),
    ModelSpec(
        name="tele_flm",
        architectures=("TeleFLMForCausalLM",),
        hub_ids=only_huggingface("CofeAI/FLM-2-52B-Instruct-2407", "CofeAI/Tele-FLM"),
    ),
    ModelSpec(
        name="pangu_embedded",
        architectures=("PanguEmbeddedForCausalLM",),
        hub_ids=only_huggingface("FreedomIntelligence/openPangu-Embedded-7B-V1.1"),
    ),
    ModelSpec(
        name="param2moe",
        architectures=("Param2MoEForCausalLM",),
        hub_ids=only_huggingface("bharatgenai/Param2-17B-A2.4B-Thinking"),
    ),
)
