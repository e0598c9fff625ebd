"""A model, and an endpoint, of Amazon SageMaker, with the files on S3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftrl.core import log
from swiftrl.core.config import setting
from swiftrl.export.publish.amazon import AmazonService
from swiftrl.export.publish.buckets import bucket_problems, bucket_steps, place, s3
from swiftrl.export.publish.config import ApiConfig, ServeConfig, StoreConfig
from swiftrl.export.publish.http import Request
from swiftrl.export.publish.serving import served_name
from swiftrl.export.publish.state import State
from swiftrl.export.publish.target import Job, Target
from swiftrl.export.publish.waiting import wait_for
from swiftrl.export.publish.written import label

_BUCKET = bucket_steps(s3, "s3")


@dataclass(frozen=True)
class SageMakerConfig:
    """SageMaker."""

    role_arn: str | None = setting(
        None, "Role that the service takes on to read the bucket, arn:aws:iam::...:role/..."
    )
    instance_type: str | None = setting(None, "Type of the machine, e.g. ml.g5.2xlarge.")


def _problems(job: Job) -> list[str]:
    problems = bucket_problems(job, "s3", region=True)
    config = job.settings[SageMakerConfig]
    if not (config.role_arn or "").startswith("arn:"):
        problems.append("--role_arn is missing: arn:aws:iam::ACCOUNT:role/NAME.")
    if not (config.instance_type or "").startswith("ml."):
        problems.append("--instance_type is missing, e.g. ml.g5.2xlarge.")
    if not job.settings[ServeConfig].image:
        problems.append(
            "--image is missing: a vLLM container in ECR that answers /ping and /invocations."
        )
    return problems


def _bodies(job: Job) -> dict[str, dict[str, Any]]:
    """Return the bodies of the three operations that make an endpoint."""
    config, serve = job.settings[SageMakerConfig], job.settings[ServeConfig]
    name = label(job.name)
    environment = {"SM_VLLM_MODEL": "/opt/ml/model", "SM_VLLM_SERVED_MODEL_NAME": served_name(job)}
    if serve.accelerators > 1:
        environment["SM_VLLM_TENSOR_PARALLEL_SIZE"] = str(serve.accelerators)
    for word in serve.serve_args:
        key, _, value = word.lstrip("-").partition("=")
        environment[f"SM_VLLM_{key.replace('-', '_').upper()}"] = value or "true"
    source = {
        "S3DataSource": {
            "S3Uri": str(place(job, "s3")),
            "S3DataType": "S3Prefix",
            "CompressionType": "None",
        }
    }
    variant = {
        "VariantName": "all",
        "ModelName": name,
        "InitialInstanceCount": serve.replicas,
        "InstanceType": config.instance_type,
        "ContainerStartupHealthCheckTimeoutInSeconds": 1800,
    }
    return {
        "create_model": {
            "ModelName": name,
            "ExecutionRoleArn": config.role_arn,
            "PrimaryContainer": {
                "Image": serve.image,
                "Environment": environment,
                "ModelDataSource": source,
            },
        },
        "create_endpoint_config": {"EndpointConfigName": name, "ProductionVariants": [variant]},
        "create_endpoint": {"EndpointName": name, "EndpointConfigName": name},
    }


def _requests(job: Job) -> dict[str, list[Request]]:
    url = f"https://api.sagemaker.{job.settings[StoreConfig].region}.amazonaws.com/"
    bodies = _bodies(job)

    def request(operation: str, action: str) -> Request:
        return Request("POST", url, bodies[operation], note=f"X-Amz-Target: SageMaker.{action}")

    return {
        "register": [request("create_model", "CreateModel")],
        "deploy": [
            request("create_endpoint_config", "CreateEndpointConfig"),
            request("create_endpoint", "CreateEndpoint"),
        ],
    }


def _register(job: Job, state: State) -> None:
    service, name = AmazonService(job, "sagemaker"), label(job.name)
    if service.find("describe_model", ModelName=name) is None:
        service.ask("create_model", **_bodies(job)["create_model"])
    log.info(f"SageMaker has the model {name}.")


def _deploy(job: Job, state: State) -> None:
    service, name, bodies = AmazonService(job, "sagemaker"), label(job.name), _bodies(job)
    if service.find("describe_endpoint_config", EndpointConfigName=name) is None:
        service.ask("create_endpoint_config", **bodies["create_endpoint_config"])
    if service.find("describe_endpoint", EndpointName=name) is None:
        service.ask("create_endpoint", **bodies["create_endpoint"])
    state.put("sagemaker", endpoint=name)

    def look() -> tuple[str, str]:
        found = service.ask("describe_endpoint", EndpointName=name)
        return found["EndpointStatus"], found.get("FailureReason", "")

    wait_for(
        f"endpoint {name}", look, good=("InService",), bad=("Failed", "OutOfService"),
        minutes=job.settings[ApiConfig].wait_minutes,
    )  # fmt: skip


def _cleanup(job: Job, state: State) -> None:
    service, name = AmazonService(job, "sagemaker"), label(job.name)
    for kind, key in (
        ("endpoint", "EndpointName"), ("endpoint_config", "EndpointConfigName"),
        ("model", "ModelName"),
    ):  # fmt: skip
        if service.find(f"describe_{kind}", **{key: name}) is not None:
            service.ask(f"delete_{kind}", **{key: name})
            log.info(f"{kind.replace('_', ' ')} {name}: removed.")
    _BUCKET["cleanup"](job, state)


TARGET = Target(
    summary="A model and an endpoint of Amazon SageMaker, through S3.",
    destination="s3://bucket/folder/",
    settings=(StoreConfig, ApiConfig, ServeConfig, SageMakerConfig),
    check=_problems,
    requests=_requests,
    steps={
        "upload": _BUCKET["upload"], "register": _register, "deploy": _deploy,
        "verify": _BUCKET["verify"], "cleanup": _cleanup,
    },
    cost="the endpoint's instances are billed until it is deleted",
)  # fmt: skip
