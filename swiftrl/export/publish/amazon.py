"""Clients of Amazon's services, with its errors turned into ours."""

from __future__ import annotations

from typing import Any

from swiftrl.core.compat import require
from swiftrl.core.errors import ConfigError
from swiftrl.export.publish.config import ApiConfig, StoreConfig
from swiftrl.export.publish.http import ServiceError
from swiftrl.export.publish.retrying import TransientError, with_retries
from swiftrl.export.publish.target import Job

__all__ = ["AmazonService"]


class AmazonService:
    """A service, asked by boto3 (credentials from its own sources).

    Args:
        job: whose settings name region and endpoint.
        name: of the service, as boto3 has it.
    """

    def __init__(self, job: Job, name: str) -> None:
        purpose = f"--to {job.publish.to}"
        boto3: Any = require("boto3", extra="aws", purpose=purpose)
        config = require("botocore.config", extra="aws", purpose=purpose).Config(
            retries={"total_max_attempts": 1}
        )
        region = job.settings[StoreConfig].region
        session = boto3.Session(region_name=region)
        if session.get_credentials() is None:
            raise ConfigError(
                f"{purpose}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "fill ~/.aws/credentials (AWS_PROFILE chooses)."
            )
        self.name = name
        self.attempts = job.publish.upload_attempts
        self.client = session.client(
            name, endpoint_url=job.settings[ApiConfig].api_endpoint, config=config
        )

    def ask(self, operation: str, **values: Any) -> dict[str, Any]:
        """Ask for an operation.

        What makes something is asked for once: after a cut it may be there all the same, and
        callers look first.

        Raises:
            ServiceError: the service refuses.
            ExportError: there is no answer.
        """
        what = f"{self.name} {operation}"
        attempts = 1 if operation.startswith("create_") else self.attempts
        return with_retries(what, lambda: self._once(operation, values), attempts=attempts)

    def find(self, operation: str, **values: Any) -> dict[str, Any] | None:
        """Ask for something that may not be there."""
        try:
            return self.ask(operation, **values)
        except ServiceError as error:
            if error.status == 404 or "not find" in str(error) or "not exist" in str(error):
                return None
            raise

    def _once(self, operation: str, values: dict[str, Any]) -> dict[str, Any]:
        from botocore import exceptions

        try:
            return getattr(self.client, operation)(**values)
        except exceptions.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            if status >= 500 or status == 429 or "Throttl" in code:
                raise TransientError(f"{status} {error}.") from error
            raise ServiceError(f"{self.name}: {error}", status, code) from error
        except exceptions.ParamValidationError as error:
            raise ConfigError(f"{self.name} {operation}: {error}") from error
        except exceptions.HTTPClientError as error:
            raise TransientError(f"{type(error).__name__}: {error}.") from error
