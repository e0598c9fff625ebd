"""An InferenceService of KServe."""

from __future__ import annotations

from swiftrl.export.publish.config import ServeConfig
from swiftrl.export.publish.manifests import ManifestConfig, manifest_target, serving_of
from swiftrl.export.publish.serving import served_name
from swiftrl.export.publish.target import Job
from swiftrl.export.publish.written import label, text_of

_SCHEMES = ("s3://", "hf://", "pvc://", "gs://", "http://", "https://", "oci://")


def _texts(job: Job) -> dict[str, str]:
    config, serve = job.settings[ManifestConfig], job.settings[ServeConfig]
    words = [f"--model_name={served_name(job)}"]
    if serve.accelerators > 1:
        words.append(f"--tensor-parallel-size={serve.accelerators}")
    words += [f"--{word.lstrip('-')}" for word in serve.serve_args]
    device = serving_of(job).kubernetes_resource
    model = {
        "modelFormat": {"name": "huggingface"},
        "args": words,
        "storageUri": config.model_uri,
        "resources": {
            "limits": {device: str(serve.accelerators)},
            "requests": {device: str(serve.accelerators)},
        },
    }
    if serve.image:
        model["image"] = serve.image
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": label(served_name(job))},
        "spec": {"predictor": {"minReplicas": serve.replicas, "model": model}},
    }
    return {"inferenceservice.yaml": text_of(service)}


def _problems(job: Job) -> list[str]:
    uri = job.settings[ManifestConfig].model_uri or ""
    if not uri.startswith(_SCHEMES):
        return [f"--model_uri {uri or '(unset)'}: KServe fetches the model from one of "
                f"{', '.join(_SCHEMES)}; bring it there first, e.g. by --to s3."]  # fmt: skip
    serving = serving_of(job)
    if not serving.in_kserve and not job.settings[ServeConfig].image:
        return [f"--image is missing: KServe's own is not for {serving.title}; give one that is."]
    return []


TARGET = manifest_target(
    "An InferenceService of KServe (v1beta1).",
    _texts,
    "kubectl apply -f {folder}/inferenceservice.yaml",
    _problems,
)
