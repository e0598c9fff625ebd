"""A folder of an OSS bucket."""

from swiftrl.export.publish.buckets import bucket_problems, bucket_steps, oss
from swiftrl.export.publish.config import StoreConfig
from swiftrl.export.publish.target import Target

TARGET = Target(
    summary="A folder of an Alibaba Cloud OSS bucket.",
    destination="oss://bucket/folder/",
    settings=(StoreConfig,),
    takes=frozenset({"model", "adapter"}),
    check=lambda job: bucket_problems(job, "oss", region=True),
    steps=bucket_steps(oss, "oss"),
)
