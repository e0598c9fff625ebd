"""A small tokenizer and chat templates that each do one thing others do not."""

import functools

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from swiftrl.templates.source import TemplateOptions
from swiftrl.templates.template import Template

SPECIAL = [
    "<s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
]
TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

CHATML = """
{%- if tools -%}
{{- '<|im_start|>system\\n<tools>' -}}
{%- for tool in tools -%}{{- tool | tojson -}}{%- endfor -%}
{{- '</tools><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>' -}}
{{- {'name': call.function.name, 'arguments': call.function.arguments} | tojson -}}
{{- '</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

LLAMA3 = """
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' -}}
{{- message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""

# Thoughts are shown in the last round only.
THINKING = """
{%- set ns = namespace(last=0) -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' and loop.index0 > ns.last and message.reasoning_content -%}
{{- '<think>\\n' + message.reasoning_content | trim + '\\n</think>\\n\\n' -}}
{%- endif -%}
{{- message.content -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>' + call.function.name + call.function.arguments | tojson + '</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and not enable_thinking -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}
"""

# Thoughts are shown in the last turn only, not even in the calls that lead to it.
LAST_THOUGHTS = THINKING.replace("loop.index0 > ns.last", "loop.last")

# The prompt opens thoughts that no rendered turn ever shows.
OPENS_THOUGHTS = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{{- message.content.split('</think>')[-1] -}}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n<think>\\n' -}}{%- endif -%}
"""

NO_TERMINATOR = """
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}{{- '### Reply:\\n' -}}
{%- else -%}{{- '### Question:\\n' -}}{%- endif -%}
{{- message.content + '\\n\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '### Reply:\\n' -}}{%- endif -%}
"""

TRAILING_SPACE = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|> \\n \\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

NO_GENERATION_PROMPT = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
"""

# A mapping of arguments is written as HTML, a JSON string as it is.
ESCAPES_ARGUMENTS = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content -}}
{%- for call in message.tool_calls or [] -%}
{%- if call.function.arguments is string -%}{%- set args = call.function.arguments -%}
{%- else -%}{%- set args = call.function.arguments | tojson | e -%}{%- endif -%}
{{- '<tool_call>' + call.function.name + args + '</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

PARTS = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- for part in message.content -%}
{%- if part.type == 'text' -%}{{- part.text -}}{%- endif -%}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

NO_SYSTEM = """
{%- for message in messages -%}
{%- if message.role == 'system' -%}{{- raise_exception('System role not supported') -}}{%- endif -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# The terminator stands between turns, not behind the last.
SEPARATOR = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content -}}
{%- if not loop.last or add_generation_prompt -%}{{- '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

# Written for inference: a reply is shown once a user answers it.
PROMPTS_ONLY = """
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{- 'User: ' + message.content + '\\n' -}}
{%- elif loop.last -%}{{- raise_exception('the last message must be of the user') -}}
{%- else -%}{{- 'Bot: ' + message.content + '\\n' -}}{%- endif -%}
{%- endfor -%}
{{- 'Bot:' -}}
"""

TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "thinking": THINKING,
    "last_thoughts": LAST_THOUGHTS,
    "opens_thoughts": OPENS_THOUGHTS,
    "no_terminator": NO_TERMINATOR,
    "trailing_space": TRAILING_SPACE,
    "no_generation_prompt": NO_GENERATION_PROMPT,
    "escapes_arguments": ESCAPES_ARGUMENTS,
    "parts": PARTS,
    "no_system": NO_SYSTEM,
    "separator": SEPARATOR,
    "prompts_only": PROMPTS_ONLY,
}


@functools.cache
def _backend() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = [
        "hello there friend, who are you?\n\nI am a small tokenizer.  It is 2.\n\n",
        "### Question:\nWhat is the weather?\n\n### Reply:\nIt rains.\n\n",
        "system user assistant tool <think> </think> <|im_end|> call | im _ end",
    ]
    tokenizer.train_from_iterator(corpus * 20, trainer)
    return tokenizer.to_str()


def make_tokenizer(chat_template=None, *, eos_token="<|im_end|>", **kwargs):
    special = {"bos_token": "<s>", "eos_token": eos_token} | kwargs
    named = {name: token for name, token in special.items() if token}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend()),
        **named,
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in TAGS])
    tokenizer.chat_template = chat_template
    return tokenizer


@functools.cache
def _load(name, **options):
    eos = "<|eot_id|>" if name == "llama3" else "<|im_end|>"
    tokenizer = make_tokenizer(TEMPLATES[name], eos_token=eos)
    return Template.load(tokenizer, options=TemplateOptions(**options))


@pytest.fixture(scope="session")
def load():
    """Return a function (name, **options) -> Template, which keeps what it made."""
    return _load


@pytest.fixture(scope="session")
def tokenizer_with():
    """Return a function (chat_template, **special tokens) -> tokenizer."""
    return make_tokenizer


@pytest.fixture(scope="session")
def sources():
    """Return the Jinja text of each template by name."""
    return TEMPLATES


@pytest.fixture(scope="session")
def trained():
    """Return a function (template, encoded) -> the texts that train, span by span."""

    def texts(template, encoded):
        spans, run = [], []
        for token, weight in zip(encoded.token_ids, encoded.loss_weights, strict=True):
            if weight:
                run.append(int(token))
            elif run:
                spans.append(template.decode(run))
                run = []
        return [*spans, template.decode(run)] if run else spans

    return texts
