# swiftrl on Ascend NPUs: docker build -f docker/ascend.Dockerfile -t swiftrl:ascend .
# The driver comes from the host; docs/en/ascend.md has the devices and mounts.
# Atlas A3: --build-arg BASE=quay.io/ascend/cann:9.1.0-a3-ubuntu22.04-py3.12
ARG BASE=quay.io/ascend/cann:9.1.0-910b-ubuntu22.04-py3.12
FROM ${BASE}

ARG TORCH=2.10.0
ARG TORCH_NPU=2.10.0.post4
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    LD_LIBRARY_PATH=/usr/local/Ascend/driver/lib64:/usr/local/Ascend/driver/lib64/common:/usr/local/Ascend/driver/lib64/driver:${LD_LIBRARY_PATH}

# torch_npu wants the CPU build of torch. Both before swiftrl, so that pip keeps them.
RUN pip install "torch==${TORCH}" --index-url https://download.pytorch.org/whl/cpu \
    && pip install pyyaml setuptools "torch_npu==${TORCH_NPU}"

WORKDIR /opt/swiftrl
COPY pyproject.toml README.md LICENSE ./
COPY swiftrl ./swiftrl
RUN pip install ".[tensorboard,media,modelscope]" && rm -rf build
COPY --chmod=755 docker/with-cann.sh /usr/local/bin/with-cann

WORKDIR /work
ENTRYPOINT ["with-cann", "swiftrl"]
CMD ["env"]
