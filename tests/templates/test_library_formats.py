"""Every template of the library writes its published format, to the character."""

import pytest

from swiftrl.templates import library
from swiftrl.templates.render import ChatRenderer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "It is 2."},
    {"role": "user", "content": "who?"},
    {"role": "assistant", "content": "I am."},
]

# <s> and </s> stand for the tokenizer's BOS and EOS. The source of each format is named above it.
FORMATS = {
    # README of Llama2-Chinese (FlagAlpha)
    "atom": (
        "Be brief."
        "<s>Human: hello"
        "\n</s><s>Assistant: It is 2."
        "</s><s>Human: who?"
        "\n</s><s>Assistant: I am.</s>"
    ),
    # Baichuan2: token ids 195 and 196
    "baichuan": (
        "Be brief.<reserved_106>hello<reserved_107>It is 2.<reserved_106>who?<reserved_107>I am."
    ),
    # Baichuan-13B: token ids 195 and 196, of other names
    "baichuan1": (
        "Be brief.<reserved_102>hello<reserved_103>It is 2.<reserved_102>who?<reserved_103>I am."
    ),
    # LLaMA-Factory and ms-swift
    "bluelm": ("<s>Be brief.[|Human|]:hello[|AI|]:It is 2.[|Human|]:who?[|AI|]:I am."),
    # internlm2-chat, Qwen1.5
    "chatml": (
        "<s><|im_start|>system\nBe brief."
        "<|im_end|>\n<|im_start|>user\nhello"
        "<|im_end|>\n<|im_start|>assistant\nIt is 2."
        "<|im_end|>\n<|im_start|>user\nwho?"
        "<|im_end|>\n<|im_start|>assistant\nI am.<|im_end|>\n"
    ),
    # ms-swift
    "codefuse": (
        "<s>system\nBe brief."
        "\n<s>human\nhello"
        "\n<s>bot\nIt is 2."
        "</s>\n<s>human\nwho?"
        "\n<s>bot\nI am.</s>\n"
    ),
    # tokenizer_config.json of aya-23
    "cohere": (
        "<s><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief."
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>hello"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>It is 2."
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>who?"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>I am.<|END_OF_TURN_TOKEN|>"
    ),
    # tokenizer_config.json of h2o-danube-1.8b-chat
    "danube": (
        "<|system|>Be brief."
        "</s><|prompt|>hello"
        "</s><|answer|>It is 2."
        "</s><|prompt|>who?"
        "</s><|answer|>I am.</s>"
    ),
    # tokenizer_config.json of deepseek-math-7b-rl
    "deepseek": (
        "<s>Be brief.\n\nUser: hello\n\nAssistant: It is 2.</s>User: who?\n\nAssistant: I am.</s>"
    ),
    # tokenizer_config.json of deepseek-coder-instruct
    "deepseek_coder": (
        "<s>Be brief."
        "### Instruction:\nhello"
        "\n### Response:\nIt is 2."
        "\n<|EOT|>\n### Instruction:\nwho?"
        "\n### Response:\nI am.\n<|EOT|>\n"
    ),
    # tokenizer_config.json of DeepSeek-V3-Base
    "deepseek_v3": (
        "<s>Be brief."
        "<｜User｜>hello"
        "<｜Assistant｜>It is 2."
        "</s><｜User｜>who?"
        "<｜Assistant｜>I am.</s>"
    ),
    # Alpaca
    "default": (
        "<s>Be brief."
        "\n\n### Instruction:\nhello"
        "\n\n### Response:\nIt is 2."
        "</s>\n\n### Instruction:\nwho?"
        "\n\n### Response:\nI am.</s>\n\n"
    ),
    # dots.llm1.inst, as llama.cpp has it
    "dots1": (
        "<|system|>Be brief."
        "<|endofsystem|><|userprompt|>hello"
        "<|endofuserprompt|><|response|>It is 2."
        "<|endofresponse|><|userprompt|>who?"
        "<|endofuserprompt|><|response|>I am.<|endofresponse|>"
    ),
    # transformers' conversion script for ERNIE-4.5
    "ernie": (
        "<|begin_of_sentence|>Be brief."
        "\nUser: hello"
        "\nAssistant: It is 2."
        "<|end_of_sentence|>User: who?"
        "\nAssistant: I am.<|end_of_sentence|>"
    ),
    # tokenizer_config.json of EXAONE-3.5
    "exaone": (
        "[|system|]Be brief."
        "[|endofturn|]\n[|user|]hello"
        "\n[|assistant|]It is 2."
        "[|endofturn|]\n[|user|]who?"
        "\n[|assistant|]I am.[|endofturn|]\n"
    ),
    # tokenizer_config.json of falcon-7b-instruct
    "falcon": ("Be brief.\n\nUser: hello\n\nAssistant: It is 2.\n\nUser: who?\n\nAssistant: I am."),
    # tokenizer_config.json of Gemma 3
    "gemma": (
        "<s><start_of_turn>user\nBe brief."
        "\n\nhello"
        "<end_of_turn>\n<start_of_turn>model\nIt is 2."
        "<end_of_turn>\n<start_of_turn>user\nwho?"
        "<end_of_turn>\n<start_of_turn>model\nI am.<end_of_turn>\n"
    ),
    # chat_template.jinja of DiffusionGemma
    "gemma4": (
        "<s><|turn>system\nBe brief."
        "<turn|>\n<|turn>user\nhello"
        "<turn|>\n<|turn>model\nIt is 2."
        "<turn|>\n<|turn>user\nwho?"
        "<turn|>\n<|turn>model\nI am.<turn|>\n"
    ),
    # tokenizer_config.json of glm-4-9b-chat
    "glm4": (
        "[gMASK]<sop><|system|>\nBe brief."
        "<|user|>\nhello"
        "<|assistant|>\nIt is 2."
        "<|user|>\nwho?"
        "<|assistant|>\nI am."
    ),
    # tokenizer_config.json of granite-3.0
    "granite": (
        "<|start_of_role|>system<|end_of_role|>Be brief."
        "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>hello"
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>It is 2."
        "<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>who?"
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>I am.<|end_of_text|>\n"
    ),
    # tokenizer_config.json of Hunyuan-Large
    "hunyuan_large": (
        "<|startoftext|>Be brief."
        "<|extra_4|>hello"
        "<|extra_0|>It is 2."
        "<|eos|><|startoftext|>who?"
        "<|extra_0|>I am.<|eos|>"
    ),
    # build_inputs of internlm-chat's modeling_internlm.py, since <eoh> was dropped
    "internlm": (
        "<s><|System|>:Be brief."
        "\n<|User|>:hello"
        "\n<|Bot|>:It is 2."
        "<eoa>\n<|User|>:who?"
        "\n<|Bot|>:I am.<eoa>\n"
    ),
    # chat template of Kimi-K2
    "kimi": (
        "<|im_system|>system<|im_middle|>Be brief."
        "<|im_end|><|im_user|>user<|im_middle|>hello"
        "<|im_end|><|im_assistant|>assistant<|im_middle|>It is 2."
        "<|im_end|><|im_user|>user<|im_middle|>who?"
        "<|im_end|><|im_assistant|>assistant<|im_middle|>I am.<|im_end|>"
    ),
    # tokenizer_config.json of Ling-lite
    "ling": (
        "<role>SYSTEM</role>Be brief."
        "<role>HUMAN</role>hello"
        "<role>ASSISTANT</role>It is 2."
        "<role>HUMAN</role>who?"
        "<role>ASSISTANT</role>I am."
    ),
    # tokenizer_config.json of Llama-2-7b-chat-hf
    "llama2": (
        "<s>[INST] <<SYS>>\nBe brief."
        "\n<</SYS>>\n\nhello"
        " [/INST] It is 2."
        " </s><s>[INST] who?"
        " [/INST] I am. </s>"
    ),
    # tokenizer_config.json of Meta-Llama-3-8B-Instruct
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief."
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhello"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nIt is 2."
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nwho?"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nI am.<|eot_id|>"
    ),
    # tokenizer_config.json of Llama-4-Scout-17B-16E-Instruct
    "llama4": (
        "<s><|header_start|>system<|header_end|>\n\nBe brief."
        "<|eot|><|header_start|>user<|header_end|>\n\nhello"
        "<|eot|><|header_start|>assistant<|header_end|>\n\nIt is 2."
        "<|eot|><|header_start|>user<|header_end|>\n\nwho?"
        "<|eot|><|header_start|>assistant<|header_end|>\n\nI am.<|eot|>"
    ),
    # tokenizer_config.json of Megrez-3B-Instruct
    "megrez": (
        "<|role_start|>system<|role_end|>Be brief."
        "<|turn_end|><|role_start|>user<|role_end|>hello"
        "<|turn_end|><|role_start|>assistant<|role_end|>It is 2."
        "<|turn_end|><|role_start|>user<|role_end|>who?"
        "<|turn_end|><|role_start|>assistant<|role_end|>I am.<|turn_end|>"
    ),
    # tokenizer_config.json of MiniCPM-2B-sft
    "minicpm": ("<s>Be brief.<用户>hello<AI>It is 2.<用户>who?<AI>I am."),
    # mistral-common, v3 (the system prompt in the first turn)
    "mistral": ("<s>[INST]Be brief.\n\nhello[/INST]It is 2.</s>[INST]who?[/INST]I am.</s>"),
    # mistral-common, v1
    "mistral_v1": ("<s>[INST] Be brief.\n\nhello [/INST]It is 2.</s>[INST] who? [/INST]I am.</s>"),
    # mistral-common, v7 and v11
    "mistral_v7": (
        "<s>[SYSTEM_PROMPT]Be brief."
        "[/SYSTEM_PROMPT][INST]hello"
        "[/INST]It is 2."
        "</s>[INST]who?"
        "[/INST]I am.</s>"
    ),
    # tokenizer_config.json of Nemotron-Mini-4B-Instruct
    "nemotron": (
        "<extra_id_0>System\nBe brief."
        "\n\n<extra_id_1>User\nhello"
        "\n<extra_id_1>Assistant\nIt is 2."
        "\n<extra_id_1>User\nwho?"
        "\n<extra_id_1>Assistant\nI am.\n"
    ),
    # openchat-3.5's authors: a system prompt without a role (FastChat, llama.cpp)
    "openchat": (
        "<s>Be brief."
        "<|end_of_turn|>GPT4 Correct User: hello"
        "<|end_of_turn|>GPT4 Correct Assistant: It is 2."
        "<|end_of_turn|>GPT4 Correct User: who?"
        "<|end_of_turn|>GPT4 Correct Assistant: I am.<|end_of_turn|>"
    ),
    # LLaMA-Factory and ms-swift
    "orion": (
        "<s>Be brief."
        "Human: hello"
        "\n\nAssistant: </s>It is 2."
        "</s>Human: who?"
        "\n\nAssistant: </s>I am.</s>"
    ),
    # tokenizer_config.json of Phi-3.5-mini-instruct
    "phi3": (
        "<s><|system|>\nBe brief."
        "<|end|>\n<|user|>\nhello"
        "<|end|>\n<|assistant|>\nIt is 2."
        "<|end|>\n<|user|>\nwho?"
        "<|end|>\n<|assistant|>\nI am.<|end|>\n"
    ),
    # tokenizer_config.json of phi-4
    "phi4": (
        "<|im_start|>system<|im_sep|>Be brief."
        "<|im_end|><|im_start|>user<|im_sep|>hello"
        "<|im_end|><|im_start|>assistant<|im_sep|>It is 2."
        "<|im_end|><|im_start|>user<|im_sep|>who?"
        "<|im_end|><|im_start|>assistant<|im_sep|>I am.<|im_end|>"
    ),
    # chat_template.jinja of Seed-OSS-36B-Instruct
    "seed_oss": (
        "<seed:bos>system\nBe brief."
        "<seed:eos><seed:bos>user\nhello"
        "<seed:eos><seed:bos>assistant\nIt is 2."
        "<seed:eos><seed:bos>user\nwho?"
        "<seed:eos><seed:bos>assistant\nI am.<seed:eos>"
    ),
    # ms-swift
    "skywork": (
        "<s>Be brief.</s><s>[USER]hello[SEP][BOT]It is 2.[SEP]</s><s>[USER]who?[SEP][BOT]I am.[SEP]"
    ),
    # tokenizer_config.json of SOLAR-10.7B-Instruct
    "solar": (
        "### System:\nBe brief."
        "\n\n### User:\nhello"
        "\n\n### Assistant:\nIt is 2."
        "### User:\nwho?"
        "\n\n### Assistant:\nI am."
    ),
    # README of SUS-Chat-34B
    "sus": (
        "<s>Be brief."
        "### Human: hello"
        "\n\n### Assistant: It is 2."
        "</s>### Human: who?"
        "\n\n### Assistant: I am.</s>"
    ),
    # ms-swift
    "telechat": (
        "<s><_system>Be brief.\n<_user>hello<_bot>It is 2.<_end><_user>who?<_bot>I am.<_end>"
    ),
    # chat template in TeleAI's prediction script for TeleChat2
    "telechat2": (
        "<s><_system>Be brief.\n<_user>hello<_bot>It is 2.<_end>\n<_user>who?<_bot>I am.<_end>\n"
    ),
    # OLMo-2-Instruct
    "tulu": (
        "<s><|system|>\nBe brief."
        "\n<|user|>\nhello"
        "\n<|assistant|>\nIt is 2."
        "</s>\n<|user|>\nwho?"
        "\n<|assistant|>\nI am.</s>"
    ),
    # tokenizer_config.json of eachadea/vicuna-13b-1.1
    "vicuna": (
        "<s>Be brief.\n\nUSER: hello\nASSISTANT: It is 2.</s>\nUSER: who?\nASSISTANT: I am.</s>\n"
    ),
    # FastChat's vicuna_v1.1; model card of WizardLM-2
    "vicuna_v1": (
        "<s>Be brief. USER: hello ASSISTANT: It is 2.</s>USER: who? ASSISTANT: I am.</s>"
    ),
    # LLaMA-Factory and ms-swift
    "xverse": (
        "<s>Be brief.Human: hello\n\nAssistant: It is 2.</s>Human: who?\n\nAssistant: I am.</s>"
    ),
    # tokenizer_config.json of zephyr-7b-beta
    "zephyr": (
        "<|system|>\nBe brief."
        "</s>\n<|user|>\nhello"
        "</s>\n<|assistant|>\nIt is 2."
        "</s>\n<|user|>\nwho?"
        "</s>\n<|assistant|>\nI am.</s>\n"
    ),
    # LLaMA-Factory and ms-swift
    "ziya": ("<s>Be brief.<human>:hello\n<bot>:It is 2.\n<human>:who?\n<bot>:I am.\n"),
}


def write(name, messages):
    variables = {"bos_token": "<s>", "eos_token": "</s>"}
    return ChatRenderer({"default": library.source(name)}, variables).render(messages)


@pytest.mark.parametrize("name", library.names())
def test_two_turns_and_a_system_message(name):
    assert write(name, CHAT) == FORMATS[name]


@pytest.mark.parametrize(("name", "trimmed"), [("llama4", "system"), ("seed_oss", "assistant")])
def test_only_what_the_vendor_trims_is_trimmed(name, trimmed):
    for role in ("system", "user", "assistant"):
        text = write(name, [{"role": role, "content": " x "}])
        assert (" x " in text) == (role != trimmed)
