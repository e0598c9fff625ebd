"""`--to gguf` and `--to ollama`: other readers of the file give the same tokens."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from cloud_fakes import folders
from cloud_fakes.services import FakeOllama
from cloud_fakes.way import Way
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from swiftrl.cli.main import main
from swiftrl.export.gguf.families import frequency_factors, rope_of, unrotated
from swiftrl.models.builtin_models import builtin_path

pytest.importorskip("gguf", reason="swiftrl[gguf]")

TINY = builtin_path("tiny-instruct")
QUESTION = [{"role": "user", "content": "In short: Put in order: 8 7 2 0"}]

LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip


def make(folder, kind):
    """A random model of a family with the built-in model's tokenizer; qwen3 is that model."""
    if kind == "qwen3":
        return shutil.copytree(TINY, folder)
    common = {
        "vocab_size": 2048, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "eos_token_id": 2034, "bos_token_id": None, "pad_token_id": 2035,
        "tie_word_embeddings": False,
    }  # fmt: skip
    torch.manual_seed(3)
    config = {
        "llama": lambda: transformers.LlamaConfig(**common, rope_parameters=LLAMA3),
        "qwen2": lambda: transformers.Qwen2Config(**common),
    }[kind]()
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3) if parameter.dim() > 1 else parameter.data.uniform_(0.5, 1.5)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TINY / name, folder)
    return folder


def export(folder, to, *more):
    words = ["export", "--to", "gguf", "--model", str(folder), "--destination", str(to)]
    assert main([*words, *more]) == 0


def greedy(folder, count=24):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text)["input_ids"]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    out = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False)
    return model, ids, out[0, len(ids) :].tolist(), tokenizer


@pytest.mark.parametrize("kind", ["qwen3", "llama", "qwen2"])
def test_transformers_reads_the_same_model(tmp_path, kind):
    folder = make(tmp_path / "model", kind)
    export(folder, tmp_path / "out", "--gguf_type", "f32")
    model, ids, expected, _ = greedy(folder)
    again = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out",
        gguf_file="model.gguf",
        dtype=torch.float32,
        # transformers does not read the width of heads where it is not hidden_size / heads.
        **({"config": model.config} if kind == "qwen3" else {}),
    )
    if kind == "llama":  # transformers does not read rope_freqs.weight
        again.model.rotary_emb = model.model.rotary_emb
    with torch.no_grad():
        found, wanted = again(torch.tensor([ids])).logits, model(torch.tensor([ids])).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert expected


@pytest.mark.parametrize(
    ("kind", "gguf_type"), [("qwen3", "f32"), ("llama", "f32"), ("qwen2", "f32"), ("qwen3", "q8_0")]
)
def test_llama_cpp_says_the_same(tmp_path, kind, gguf_type):
    """The library of llama.cpp itself reads the file and decodes greedily."""
    xllamacpp = pytest.importorskip(
        "xllamacpp", reason="llama.cpp's library: pip install xllamacpp"
    )
    folder = make(tmp_path / "model", kind)
    export(folder, tmp_path / "out", "--gguf_type", gguf_type)
    _, ids, expected, tokenizer = greedy(folder)
    words = xllamacpp.CommonParams()
    words.model.path = str(tmp_path / "out" / "model.gguf")
    words.n_ctx, words.n_gpu_layers, words.n_parallel, words.warmup = 512, 0, 1, False
    words.cpuparams.n_threads = 1
    server = xllamacpp.Server(words)
    question = tokenizer.decode(ids)
    for prompt in (ids, question):  # the second shows that its tokenizer is the same
        answer = server.handle_completions(
            {"prompt": prompt, "n_predict": 24, "temperature": 0, "cache_prompt": False}
        )
        assert answer["usage"]["prompt_tokens"] == len(ids)
        assert answer["choices"][0]["text"] == tokenizer.decode(expected, skip_special_tokens=True)
        assert answer["usage"]["completion_tokens"] == len(expected)


def test_rows_of_rotated_heads():
    """Two heads of width 4: rows 0 1 | 2 3 of a head become 0 2 1 3."""
    found = unrotated(np.arange(8)[:, None], 2)[:, 0].tolist()
    assert found == [0, 2, 1, 3, 4, 6, 5, 7]


def test_frequency_factors_are_those_of_llama_3():
    config = transformers.LlamaConfig(
        hidden_size=64, num_attention_heads=4, rope_parameters=LLAMA3, max_position_embeddings=512
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    found = frequency_factors(rope_of(config.to_dict()), 16)
    torch.testing.assert_close(torch.tensor(found), plain / scaled)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["BloomForCausalLM"]}, "architecture BloomForCausalLM; GGUF is written"),
        ({"sliding_window": 128}, "a sliding window"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "rope_type dynamic is not written"),
    ],
)
def test_what_is_not_written_is_named(tmp_path, capsys, change, message):
    folder = shutil.copytree(TINY, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config.pop("use_sliding_window")
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    words = ["export", "--to", "gguf", "--model", str(folder), "--destination", str(tmp_path / "o")]
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_an_unknown_prompt_needs_a_template(tmp_path, capsys):
    folder = shutil.copytree(TINY, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    )
    words = ["export", "--to", "gguf", "--model", str(folder), "--destination", str(tmp_path / "o")]
    assert main(words) == 2
    assert "renders as none that is known here" in capsys.readouterr().err
    (tmp_path / "own.txt").write_text("[{{ .Prompt }}]{{ .Response }}")
    assert main([*words, "--ollama_template", str(tmp_path / "own.txt")]) == 0
    assert "[{{ .Prompt }}]" in (tmp_path / "o" / "Modelfile").read_text()


def test_an_unknown_cut_of_text_is_refused(tmp_path, capsys):
    folder = shutil.copytree(TINY, tmp_path / "model")
    found = json.loads((folder / "tokenizer.json").read_text())
    found["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+"
    (folder / "tokenizer.json").write_text(json.dumps(found))
    words = ["export", "--to", "gguf", "--model", str(folder), "--destination", str(tmp_path / "o")]
    assert main(words) == 2
    assert "text is cut in a way that is not known here" in capsys.readouterr().err


def test_ollama(tmp_path, monkeypatch, capsys):
    """Blobs by digest, over a way that fails; then created, asked and removed."""
    monkeypatch.setattr("swiftrl.export.publish.retrying._LONGEST_S", 0.05)
    ollama = FakeOllama()
    way = Way(ollama.address)
    faults = {"POST": ["cut", "lost"], "HEAD": ["500"], "DELETE": ["500"]}
    way.fault = lambda method, path, seen: dict(enumerate(faults[method])).get(seen)
    folder = shutil.copytree(TINY, tmp_path / "model")
    words = [
        "export", "--to", "ollama", "--model", str(folder), "--destination", "mine:1",
        "--gguf_type", "q8_0", "--ollama_system", "Be kind.", "--api_endpoint", way.url,
    ]  # fmt: skip
    assert main(words) == 0
    model = ollama.models["mine:1"]
    gguf = (tmp_path / "model-gguf" / "model.gguf").read_bytes()
    assert ollama.blobs[model["files"]["model.gguf"]] == gguf
    assert model["parameters"] == {"stop": ["<|im_end|>", "<|endoftext|>"]}
    assert "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n" in model["template"]
    assert model["system"] == "Be kind."
    assert len([path for m, path in way.arrived if "blobs" in path and m == "POST"]) == 1
    assert "it answers '2'" in capsys.readouterr().out
    assert main([*words, "--stage", "cleanup", "--yes"]) == 0
    assert not ollama.models
    way.close()
    ollama.close()


def test_dry_run_shows_the_requests(tmp_path, capsys):
    folder = shutil.copytree(TINY, tmp_path / "model")
    words = ["export", "--to", "ollama", "--model", str(folder), "--destination", "mine"]
    assert main([*words, "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "POST http://127.0.0.1:11434/api/create" in shown and '"files": {' in shown


def test_tokens_from_folders_without_a_tokenizer_are_refused(tmp_path, capsys):
    folder = folders.model(tmp_path / "model", vocab_size=10, sliding_window=None)
    words = ["export", "--to", "gguf", "--model", str(folder), "--destination", str(tmp_path / "o")]
    assert main(words) == 2
    assert "a tokenizer of kind None; GGUF is written for byte-level BPE" in capsys.readouterr().err
