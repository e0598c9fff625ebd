import subprocess
import sys

import pytest

from swiftrl.models.catalog import FAMILIES, all_specs, by_architecture, by_hub_id
from swiftrl.models.hub import is_hub_id


def test_every_family_file_exports_specs():
    assert {"qwen", "llama", "mistral", "gemma"} <= set(FAMILIES.names())
    for _, specs in FAMILIES.items():
        assert specs


def test_names_and_ids_are_unique_and_well_formed():
    names = [spec.name for spec in all_specs()]
    assert len(names) == len(set(names))
    for use_hf in (False, True):
        ids = [hub_id.on(use_hf).lower() for spec in all_specs() for hub_id in spec.hub_ids]
        assert len(ids) == len(set(ids))
        assert all(is_hub_id(hub_id) for hub_id in ids)


def test_look_ups():
    spec = by_hub_id("meta-llama/Llama-3.2-1B-Instruct")
    assert spec is not None and spec.name == "llama"
    assert by_hub_id("LLM-Research/Llama-3.2-1B-Instruct") is spec
    assert by_architecture("LlamaForCausalLM") == (spec,)
    assert by_hub_id("nobody/nothing") is None


@pytest.mark.parametrize("spec", all_specs(), ids=lambda spec: spec.name)
def test_transformers_has_every_architecture_that_generates(spec):
    import transformers

    for architecture in spec.architectures:
        assert getattr(transformers, architecture).can_generate()


def test_the_catalog_needs_no_torch():
    code = (
        "import sys; from swiftrl.models.catalog import all_specs; all_specs();"
        "import swiftrl.models.resolve;"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
