# swiftrl on NVIDIA GPUs: docker build -f docker/cuda.Dockerfile -t swiftrl:cuda .
# torch's wheel brings CUDA's libraries; the driver comes from the host (--gpus all).
FROM python:3.12-slim-bookworm

ARG TORCH=2.13.0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# Triton, which compiles torch's kernels, calls a C compiler when it runs.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

RUN pip install "torch==${TORCH}"

WORKDIR /opt/swiftrl
COPY pyproject.toml README.md LICENSE ./
COPY swiftrl ./swiftrl
RUN pip install ".[tensorboard,media,modelscope]" && rm -rf build

WORKDIR /work
ENTRYPOINT ["swiftrl"]
CMD ["env"]
