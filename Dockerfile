# The environment of distributed_ml with its programs, for docs/containers.md:
#
#   docker build -t distributed_ml:0.1.0 .
#   docker run --rm distributed_ml:0.1.0
#
# torch is the CPU build; for NVIDIA GPUs, build with --build-arg TORCH_INDEX=https://pypi.org/simple
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# The folder of the user is one that containers with a read-only file system can write.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin peer
WORKDIR /app

# Before the sources, so that a change of these installs nothing again.
COPY requirements.txt requirements-hpc.txt ./
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.txt)" \
    && pip install --no-cache-dir -r requirements.txt

COPY setup.py pyproject.toml README.md LICENSE ./
COPY src ./src
COPY parsl_configs ./parsl_configs
RUN pip install --no-cache-dir --no-deps -e .

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
CMD ["python", "src/experiments/decentralized_main.py", "--help"]
