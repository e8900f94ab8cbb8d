# syntax=docker/dockerfile:1
# One image for the service, MLflow, and the nodes of the Ray cluster: `docker-compose.yml` says who runs what.
FROM python:3.11-slim-bookworm

# OpenCV wants these two libraries and brings all others itself.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# Nobody: the container's files are root's, and it may write to its volumes and to /tmp only.
RUN groupadd --gid 10001 evolve \
    && useradd --uid 10001 --gid evolve --no-create-home --home-dir /tmp --shell /usr/sbin/nologin evolve \
    && install --directory --owner=evolve --group=evolve --mode=0750 /var/lib/evolve /var/lib/mlflow

WORKDIR /app

# Seven gigabytes that change only with these two files.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache \
    pip install --disable-pip-version-check --root-user-action=ignore --constraint constraints.txt uv \
    && uv pip install --system --link-mode=copy --compile-bytecode --constraint constraints.txt \
        --requirement pyproject.toml --extra mlflow-auth

COPY . .
RUN --mount=type=cache,target=/root/.cache \
    uv pip install --system --link-mode=copy --compile-bytecode --constraint constraints.txt --no-deps .

ENV EVOLVE_HOME=/var/lib/evolve \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GIT_PYTHON_REFRESH=quiet \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

USER 10001:10001
EXPOSE 8000
CMD ["evolve", "serve", "--host", "0.0.0.0"]
