"""A configuration of MindIE's server."""

from __future__ import annotations

import json

from swiftrl.export.publish.config import ServeConfig
from swiftrl.export.publish.manifests import ManifestConfig, manifest_target, model_uri
from swiftrl.export.publish.serving import served_name
from swiftrl.export.publish.target import Job
from swiftrl.export.publish.weights import read_json


def _texts(job: Job) -> dict[str, str]:
    config, serve = job.settings[ManifestConfig], job.settings[ServeConfig]
    room = int(read_json(job.folder / "config.json").get("max_position_embeddings", 8192))
    longest = min(room, 8192)
    model = {
        "modelInstanceType": "Standard",
        "modelName": served_name(job),
        "modelWeightPath": model_uri(job),
        "worldSize": serve.accelerators,
        "cpuMemSize": 5,
        "npuMemSize": -1,
        "backendType": "atb",
        "trustRemoteCode": False,
    }
    values = {
        "Version": "1.0.0",
        "ServerConfig": {
            "ipAddress": "127.0.0.1",
            "port": config.serve_port,
            "httpsEnabled": False,
            "maxLinkNum": 1000,
        },
        "BackendConfig": {
            "backendName": "mindieservice_llm_engine",
            "modelInstanceNumber": serve.replicas,
            "npuDeviceIds": [list(range(serve.accelerators))] * serve.replicas,
            "multiNodesInferEnabled": False,
            "ModelDeployConfig": {
                "maxSeqLen": longest,
                "maxInputTokenLen": longest // 2,
                "truncation": False,
                "ModelConfig": [model],
            },
            "ScheduleConfig": {
                "templateType": "Standard",
                "templateName": "Standard_LLM",
                "cacheBlockSize": 128,
                "maxPrefillBatchSize": 50,
                "maxBatchSize": 200,
                "maxIterTimes": longest // 2,
            },
        },
    }
    return {"config.json": json.dumps(values, indent=2) + "\n"}


TARGET = manifest_target(
    "A configuration of MindIE's server (config.json).",
    _texts,
    "compare {folder}/config.json with the one of your MindIE version (conf/config.json), put it "
    "there and run bin/mindieservice_daemon",
)
