"""What `evolve serve` is told, and the limits that its environment may change."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from pydantic import Field

from evolve.settings import EnvironmentSettings

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class Limits(EnvironmentSettings):
    """How much one caller may ask of the service; every value is read from the environment.

    Attributes:
        requests_per_second: `EVOLVE_REQUESTS_PER_SECOND`, for each key, or each address without one.
        request_burst: `EVOLVE_REQUEST_BURST`, how many may come at once after a pause.
        failures_per_second: `EVOLVE_FAILURES_PER_SECOND`, requests with a bad key from one address.
        failure_burst: `EVOLVE_FAILURE_BURST`, the same at once.
        streams: `EVOLVE_STREAMS`, event streams that are open at the same time.
        streams_per_key: `EVOLVE_STREAMS_PER_KEY`, the same for one key, or one address without a key.
        body_seconds: `EVOLVE_BODY_SECONDS`, within which the body of a request must have arrived.
        allowed_hosts: `EVOLVE_ALLOWED_HOSTS`, names (with commas between) by which the service may be addressed;
            without any, all are allowed as soon as there are keys, and those of this machine before.
    """

    requests_per_second: float = Field(default=500, gt=0, le=1e6)
    request_burst: float = Field(default=1000, ge=1, le=1e6)
    failures_per_second: float = Field(default=1, gt=0, le=1e6)
    failure_burst: float = Field(default=30, ge=1, le=1e6)
    streams: int = Field(default=1000, ge=1)
    streams_per_key: int = Field(default=300, ge=1)
    body_seconds: float = Field(default=20, gt=0, le=3600)
    allowed_hosts: str = ""

    @property
    def host_names(self) -> frozenset[str]:
        """The names in `allowed_hosts`, in lower case and without ports."""
        return frozenset(host_name(name.strip()) for name in self.allowed_hosts.split(",") if name.strip())


@dataclass(frozen=True)
class ServiceOptions:
    """How the service was started.

    Attributes:
        host: The address that it listens on.
        port: The port that it listens on.
        pool: Where trials run: `local` or `inline`.
        workers: Trials at once over all searches; by default as many as the machine has room for.
        gpus_per_trial: GPUs, or the share of one, that a trial gets; by default 1 where there is one.
        ray_address: A Ray cluster to join instead of a pool of one's own.
        mlflow_port: Port of the MLflow UI beside it; None for none.
        limits: What one caller may ask.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    pool: str = "local"
    workers: int | None = None
    gpus_per_trial: float | None = None
    ray_address: str | None = None
    mlflow_port: int | None = 5000
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)


def host_name(host: str) -> str:
    """The name in a Host header, without the port and without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is this machine's own."""
    if host.lower() in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
