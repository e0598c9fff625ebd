"""ChatGLM and CogVLM, whose code is not in transformers: known by name, not loadable without it."""

from __future__ import annotations

from swiftrl.models.spec import HubId, Markers, ModelSpec, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="chatglm2",
        architectures=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        hub_ids=(
            HubId("ZhipuAI/chatglm2-6b", "zai-org/chatglm2-6b"),
            HubId("ZhipuAI/chatglm2-6b-32k", "zai-org/chatglm2-6b-32k"),
            HubId("ZhipuAI/codegeex2-6b", "zai-org/codegeex2-6b"),
        ),
        markers=Markers(names=("chatglm2", "codegeex2")),
    ),
    ModelSpec(
        name="chatglm3",
        architectures=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        hub_ids=(
            HubId("ZhipuAI/chatglm3-6b", "zai-org/chatglm3-6b"),
            HubId("ZhipuAI/chatglm3-6b-base", "zai-org/chatglm3-6b-base"),
            HubId("ZhipuAI/chatglm3-6b-32k", "zai-org/chatglm3-6b-32k"),
            HubId("ZhipuAI/chatglm3-6b-128k", "zai-org/chatglm3-6b-128k"),
        ),
        stop_tokens=("<|user|>", "<|observation|>"),
        markers=Markers(names=("chatglm3",)),
        capabilities=("base", "chat", "tools"),
    ),
    ModelSpec(
        name="chatglm4",
        architectures=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        hub_ids=(
            HubId("ZhipuAI/glm-4-9b-chat", "zai-org/glm-4-9b-chat"),
            HubId("ZhipuAI/glm-4-9b", "zai-org/glm-4-9b"),
            HubId("ZhipuAI/glm-4-9b-chat-1m", "zai-org/glm-4-9b-chat-1m"),
            HubId("ZhipuAI/LongWriter-glm4-9b", "zai-org/LongWriter-glm4-9b"),
        ),
        template="glm4",
        stop_tokens=("<|user|>", "<|observation|>"),
        tool_syntax="glm4",
        capabilities=("base", "chat", "tools"),
    ),
    ModelSpec(
        name="codegeex4",
        architectures=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        hub_ids=(HubId("ZhipuAI/codegeex4-all-9b", "zai-org/codegeex4-all-9b"),),
        stop_tokens=("<|user|>", "<|observation|>"),
        markers=Markers(names=("codegeex4",)),
    ),
    ModelSpec(
        name="codefuse_codegeex2",
        architectures=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        hub_ids=same_ids("codefuse-ai/CodeFuse-CodeGeeX2-6B"),
        markers=Markers(names=("codefuse",)),
    ),
    ModelSpec(
        name="chatglm4v",
        architectures=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        hub_ids=(
            HubId("ZhipuAI/glm-4v-9b", "zai-org/glm-4v-9b"),
            HubId("ZhipuAI/cogagent-9b-20241220", "zai-org/cogagent-9b-20241220"),
        ),
        modalities=("text", "image"),
        stop_tokens=("<|user|>", "<|observation|>"),
        markers=Markers(names=("glm-4v", "cogagent")),
    ),
    ModelSpec(
        name="cogvlm",
        architectures=("CogVLMForCausalLM",),
        hub_ids=(HubId("ZhipuAI/cogvlm-chat", "zai-org/cogvlm-chat-hf"),),
        modalities=("text", "image"),
    ),
    ModelSpec(
        name="cogvlm2",
        architectures=("CogVLMForCausalLM",),
        hub_ids=(
            HubId("ZhipuAI/cogvlm2-llama3-chat-19B", "zai-org/cogvlm2-llama3-chat-19B"),
            HubId(
                "ZhipuAI/cogvlm2-llama3-chinese-chat-19B", "zai-org/cogvlm2-llama3-chinese-chat-19B"
            ),
        ),
        modalities=("text", "image"),
        markers=Markers(names=("cogvlm2",)),
    ),
    ModelSpec(
        name="cogvlm2_video",
        architectures=("CogVLMVideoForCausalLM",),
        hub_ids=(HubId("ZhipuAI/cogvlm2-video-llama3-chat", "zai-org/cogvlm2-video-llama3-chat"),),
        modalities=("text", "image", "video"),
    ),
    ModelSpec(
        name="cogagent",
        architectures=("CogAgentForCausalLM",),
        hub_ids=(
            HubId("ZhipuAI/cogagent-chat", "zai-org/cogagent-chat-hf"),
            HubId("ZhipuAI/cogagent-vqa", "zai-org/cogagent-vqa-hf"),
        ),
        modalities=("text", "image"),
    ),
)
