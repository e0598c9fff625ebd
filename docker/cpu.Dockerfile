# swiftrl on a processor: docker build -f docker/cpu.Dockerfile -t swiftrl:cpu .
FROM python:3.12-slim-bookworm

ARG TORCH=2.13.0
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# First, since it changes least; the plain wheel would bring gigabytes of CUDA libraries.
RUN pip install "torch==${TORCH}" --index-url https://download.pytorch.org/whl/cpu

WORKDIR /opt/swiftrl
COPY pyproject.toml README.md LICENSE ./
COPY swiftrl ./swiftrl
RUN pip install ".[tensorboard,media,modelscope]" && rm -rf build

WORKDIR /work
ENTRYPOINT ["swiftrl"]
CMD ["env"]
