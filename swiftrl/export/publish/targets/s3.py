"""A folder of an S3 bucket."""

from swiftrl.export.publish.buckets import bucket_problems, bucket_steps, s3
from swiftrl.export.publish.config import StoreConfig
from swiftrl.export.publish.target import Target

TARGET = Target(
    summary="A folder of an Amazon S3 bucket, or of a store that speaks its protocol (MinIO).",
    destination="s3://bucket/folder/",
    settings=(StoreConfig,),
    takes=frozenset({"model", "adapter"}),
    check=lambda job: bucket_problems(job, "s3", region=False),
    steps=bucket_steps(s3, "s3"),
)
