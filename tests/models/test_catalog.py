import subprocess
import sys

import pytest
from packaging.version import Version

from swiftrl.models import catalog
from swiftrl.models.catalog import FAMILIES, all_specs, by_architecture, by_hub_id
from swiftrl.models.hub import is_hub_id
from swiftrl.models.left_out import COMPARED_WITH, LEFT_OUT
from swiftrl.models.remote_code import REMOTE_CODE
from swiftrl.models.spec import ModelSpec, only_huggingface, only_modelscope, same_ids
from swiftrl.templates import library


def test_every_family_file_exports_specs():
    assert {"qwen", "llama", "mistral", "gemma"} <= set(FAMILIES.names())
    for _, specs in FAMILIES.items():
        assert specs


def test_names_and_ids_are_unique_and_well_formed():
    names = [spec.name for spec in all_specs()]
    assert len(names) == len(set(names))
    for use_hf in (False, True):
        hub_ids = [hub_id.on(use_hf) for spec in all_specs() for hub_id in spec.hub_ids]
        ids = [hub_id.lower() for hub_id in hub_ids if hub_id is not None]
        assert len(ids) == len(set(ids))
        assert all(is_hub_id(hub_id) for hub_id in ids)


def test_every_model_is_known_on_a_hub():
    assert all(hub_id.known for spec in all_specs() for hub_id in spec.hub_ids)
    assert only_huggingface("a/b")[0].known == only_modelscope("a/b")[0].known == ("a/b",)
    assert same_ids("a/b")[0].known == ("a/b", "a/b")


def test_look_ups():
    spec = by_hub_id("meta-llama/Llama-3.2-1B-Instruct")
    assert spec is not None and spec.name == "llama"
    assert by_hub_id("LLM-Research/Llama-3.2-1B-Instruct") is spec
    assert spec in by_architecture("LlamaForCausalLM")
    assert by_hub_id("nobody/nothing") is None


@pytest.mark.parametrize("spec", all_specs(), ids=lambda spec: spec.name)
def test_architectures_are_known_to_transformers_or_nothing_is_claimed_about_them(spec):
    import transformers

    native = [name for name in spec.architectures if hasattr(transformers, name)]
    if native and {"base", "chat"} & set(spec.capabilities):
        assert all(getattr(transformers, name).can_generate() for name in native)
    # The layers of a class that is not in transformers cannot be checked here.
    assert not native or spec.lora_targets or is_newer_than_the_families()
    assert native or not spec.lora_targets or is_older_than(spec)


def is_older_than(spec) -> bool:
    """The architecture came with a release after the one that is installed."""
    import transformers

    least = spec.min_transformers
    return least is not None and Version(transformers.__version__) < Version(least)


def is_newer_than_the_families() -> bool:
    """A release after the one compared with may have classes that no family can know yet."""
    import transformers

    return not transformers.__version__.startswith(f"{COMPARED_WITH}.")


def test_every_generating_class_is_listed_or_left_out_with_a_reason():
    from transformers.models.auto import modeling_auto as auto

    offered = set()
    for mapping in (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    ):
        for names in mapping.values():
            offered.update([names] if isinstance(names, str) else names)
    listed = {name for spec in all_specs() for name in spec.architectures}
    assert sorted(listed & set(LEFT_OUT)) == []
    unknown = sorted(offered - listed - set(LEFT_OUT))
    assert unknown == [] or is_newer_than_the_families()
    gone = sorted(set(LEFT_OUT) - offered)
    assert gone == [] or is_newer_than_the_families()


def test_remote_code_is_exactly_what_transformers_lacks():
    import transformers

    listed = {name for spec in all_specs() for name in spec.architectures}
    later = {name for spec in all_specs() if is_older_than(spec) for name in spec.architectures}
    lacking = {name for name in listed - later if not hasattr(transformers, name)}
    assert lacking == REMOTE_CODE or (is_newer_than_the_families() and lacking < REMOTE_CODE)


def test_families_of_one_architecture_have_one_default():
    """At most one has no markers: it is what is left when no other's hold."""
    for name in {name for spec in all_specs() for name in spec.architectures}:
        assert len([spec for spec in by_architecture(name) if not spec.markers]) <= 1, name


def test_specs_name_library_templates():
    assert {spec.template for spec in all_specs()} - {None} <= set(library.names())


def test_a_family_is_as_tested_as_its_least_tested_architecture(monkeypatch):
    results = {"_versions": {}, "A": {"level": "tiny"}, "B": {"level": "listed", "reason": "why"}}
    monkeypatch.setattr(catalog, "conformance", lambda: results)
    levels = [
        catalog.tested_of(ModelSpec("x", names)) for names in (("A",), ("A", "B"), ("A", "C"))
    ]
    assert levels == ["tiny", "listed", "listed"]
    alias = ModelSpec("x", ("A", "StableLMEpochForCausalLM"))
    assert catalog.tested_of(alias) == "tiny"
    assert catalog.untested_because(alias) is None
    assert catalog.tested_level("C") == "listed"
    assert catalog.untested_because(ModelSpec("x", ("A", "B"))) == "why"
    assert "never run" in catalog.untested_because(ModelSpec("x", ("RWForCausalLM",)))


def test_the_zoo_is_as_large_as_promised():
    text = [spec for spec in all_specs() if spec.modalities == ("text",)]
    multimodal = [spec for spec in all_specs() if spec.modalities != ("text",)]
    assert sum(len(spec.hub_ids) for spec in text) >= 600
    assert sum(len(spec.hub_ids) for spec in multimodal) >= 300
    assert len({name for spec in all_specs() for name in spec.architectures}) >= 150


def test_the_catalog_needs_no_torch():
    code = (
        "import sys; from swiftrl.models.catalog import all_specs; all_specs();"
        "import swiftrl.models.resolve;"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_least_versions_of_transformers_are_versions_that_are_out():
    import re

    import transformers

    def numbers(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", version)[:3])

    for spec in all_specs():
        if spec.min_transformers is None:
            continue
        assert re.fullmatch(r"[45]\.\d+\.\d+", spec.min_transformers), spec.name
        if all(hasattr(transformers, name) for name in spec.architectures):
            assert numbers(spec.min_transformers) <= numbers(transformers.__version__), spec.name


def test_every_class_of_transformers_that_is_not_tested_has_a_reason_in_words():
    import re

    import transformers

    for name in sorted({name for spec in all_specs() for name in spec.architectures}):
        if not hasattr(transformers, name):
            continue
        entry = catalog.conformance().get(name)
        assert entry is not None or is_newer_than_the_families(), name
        reason = entry["reason"]
        # No exception's name, no shapes of tensors: a reader should see why.
        assert not re.search(r"(Error|Exception):|[Tt]raceback|torch\.Size", reason), name
        assert entry["level"] == "tiny" or len(reason) > 20, name


@pytest.mark.parametrize("spec", all_specs(), ids=lambda spec: spec.name)
def test_required_fields(spec):
    assert spec.architectures and spec.capabilities
    assert spec.modalities[0] == "text"
    assert len({hub.known for hub in spec.hub_ids}) == len(spec.hub_ids)
    if REMOTE_CODE.issuperset(spec.architectures):
        return
    assert spec.lora_targets or is_newer_than_the_families()
    # What shows pictures or plays sounds has an encoder or a projector, but for those that take
    # the pixels as words or as patches of their language model.
    no_towers = {"emu3", "glm_edge_v"}
    if len(spec.modalities) > 1 and spec.name not in no_towers:
        assert spec.towers.vision or spec.towers.aligner
