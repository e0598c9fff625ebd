"""A folder of an OBS bucket."""

from swiftrl.export.publish.buckets import bucket_problems, bucket_steps, obs
from swiftrl.export.publish.config import StoreConfig
from swiftrl.export.publish.target import Target

TARGET = Target(
    summary="A folder of a Huawei Cloud OBS bucket.",
    destination="obs://bucket/folder/",
    settings=(StoreConfig,),
    takes=frozenset({"model", "adapter"}),
    check=lambda job: bucket_problems(job, "obs", region=True),
    steps=bucket_steps(obs, "obs"),
)
