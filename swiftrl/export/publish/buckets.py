"""Steps that every target with a bucket shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from swiftrl.core import log
from swiftrl.export.publish.config import StoreConfig
from swiftrl.export.publish.multipart import Sender
from swiftrl.export.publish.secret import alibaba_key, huawei_key
from swiftrl.export.publish.state import State
from swiftrl.export.publish.store import ObjectStore, Place, place_of
from swiftrl.export.publish.stores.oss import OssStore, oss_store
from swiftrl.export.publish.stores.s3 import S3Store, s3_store
from swiftrl.export.publish.target import Job, Step

__all__ = ["bucket_problems", "bucket_steps", "obs", "oss", "place", "s3"]

Open = Callable[[Job], ObjectStore]


def place(job: Job, scheme: str) -> Place:
    """Return the bucket and folder of a job."""
    return place_of(job.publish.destination, scheme)


def s3(job: Job) -> S3Store:
    """Return Amazon's store."""
    config = job.settings[StoreConfig]
    return s3_store(place(job, "s3"), region=config.region, endpoint=config.endpoint)


def obs(job: Job) -> S3Store:
    """Return Huawei Cloud's store, by the protocol of S3 that OBS speaks as well."""
    config = job.settings[StoreConfig]
    endpoint = config.endpoint or f"https://obs.{config.region}.myhuaweicloud.com"
    return s3_store(
        place(job, "obs"), region=config.region, endpoint=endpoint, key=huawei_key(),
        extra="huawei",
    )  # fmt: skip


def oss(job: Job) -> OssStore:
    """Return Alibaba Cloud's store."""
    config = job.settings[StoreConfig]
    return oss_store(
        place(job, "oss"), region=config.region, endpoint=config.endpoint, key=alibaba_key()
    )


def bucket_problems(job: Job, scheme: str, *, region: bool) -> list[str]:
    """Return what is wrong with the settings of a bucket.

    Args:
        job: what is to be published.
        scheme: of --destination.
        region: whether --region must be given.
    """
    place(job, scheme)
    if region and not job.settings[StoreConfig].region:
        return ["--region is missing: the one of the bucket."]
    return []


def bucket_steps(open_store: Open, scheme: str) -> Mapping[str, Step]:
    """Return the steps upload, verify and cleanup of a bucket."""

    def sender(job: Job, state: State) -> Sender:
        config = job.publish
        return Sender(
            open_store(job), place(job, scheme), state,
            part_size=config.part_size_mib * 2**20,
            attempts=config.upload_attempts,
            threads=config.upload_threads,
        )  # fmt: skip

    def upload(job: Job, state: State) -> None:
        sender(job, state).send(job.files)

    def verify(job: Job, state: State) -> None:
        checking = sender(job, state)
        for file in job.files:
            checking.check(file)
        log.info(f"{checking.place}: all {len(job.files)} files are there, by size and checksum.")

    def cleanup(job: Job, state: State) -> None:
        cleaning = sender(job, state)
        cleaning.clean(job.files)
        log.info(f"{cleaning.place}: {len(job.files)} files removed.")

    return {"upload": upload, "verify": verify, "cleanup": cleanup}
