"""A LeaderWorkerSet of Kubernetes: one replica of vLLM over several machines, by Ray."""

from __future__ import annotations

import shlex
from typing import Any

from swiftrl.export.publish.config import ServeConfig
from swiftrl.export.publish.manifests import ManifestConfig, manifest_target, model_uri, serving_of
from swiftrl.export.publish.serving import served_name, vllm_words
from swiftrl.export.publish.target import Job
from swiftrl.export.publish.written import label, text_of

_MOUNT = "/model"


def _texts(job: Job) -> dict[str, str]:
    config, serve = job.settings[ManifestConfig], job.settings[ServeConfig]
    name = label(served_name(job))
    words = [*vllm_words(job, _MOUNT, config.serve_port), "--pipeline-parallel-size",
             str(config.nodes), "--distributed-executor-backend", "ray"]  # fmt: skip
    nodes = "until [ $(ray list nodes --limit 1000 | grep -c ALIVE) -ge $LWS_GROUP_SIZE ]; do " \
        "sleep 2; done"  # fmt: skip
    leader = f"ray start --head --port=6379 && {nodes} && {shlex.join(['vllm', 'serve', *words])}"
    worker = "until ray start --address=$LWS_LEADER_ADDRESS:6379 --block; do sleep 2; done"
    ready = {"tcpSocket": {"port": config.serve_port}, "initialDelaySeconds": 15}
    leading = {**_container(job, leader), "ports": [{"containerPort": config.serve_port}],
               "readinessProbe": ready}  # fmt: skip
    template = {
        "size": config.nodes,
        "restartPolicy": "RecreateGroupOnPodRestart",
        "leaderTemplate": {"metadata": {"labels": {"role": "leader", "model": name}},
                           "spec": _pod(job, leading)},
        "workerTemplate": {"spec": _pod(job, _container(job, worker))},
    }  # fmt: skip
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": name},
        "spec": {"replicas": serve.replicas, "leaderWorkerTemplate": template},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"role": "leader", "model": name},
            "ports": [{"port": config.serve_port, "targetPort": config.serve_port}],
        },
    }
    return {"leaderworkerset.yaml": text_of(group, service)}


def _container(job: Job, script: str) -> dict[str, Any]:
    serving, serve = serving_of(job), job.settings[ServeConfig]
    return {
        "name": "vllm",
        "image": serve.image or serving.image,
        "command": ["sh", "-c", script],
        "resources": {"limits": {serving.kubernetes_resource: str(serve.accelerators)}},
        "volumeMounts": [
            {"name": "model", "mountPath": _MOUNT, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _pod(job: Job, container: dict[str, Any]) -> dict[str, Any]:
    uri = model_uri(job)
    place: dict[str, Any] = {"hostPath": {"path": uri, "type": "Directory"}}
    if uri.startswith("pvc://"):
        claim = uri.removeprefix("pvc://").partition("/")[0]
        place = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        path = uri.removeprefix(f"pvc://{claim}").strip("/")
        if path:
            container["volumeMounts"][0]["subPath"] = path
    volumes = [{"name": "model", **place}, {"name": "shm", "emptyDir": {"medium": "Memory"}}]
    return {"containers": [container], "volumes": volumes}


def _problems(job: Job) -> list[str]:
    uri = model_uri(job)
    if "://" in uri and not uri.startswith("pvc://"):
        return [f"--model_uri {uri}: expected a path that every machine has, or pvc://claim/path."]
    return []


TARGET = manifest_target(
    "A LeaderWorkerSet that serves the model by vLLM over several machines.",
    _texts,
    "kubectl apply -f {folder}/leaderworkerset.yaml",
    _problems,
)
