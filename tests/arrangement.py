"""The services of `docker-compose.yml`, started as `docker compose up` starts them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compose_file import POSTGRES_USER, PROGRAM_USER, image_environment, load, secrets_wanted
from containers import ROOT, Container, Engine, Spec

COMPOSE = ROOT / "docker-compose.yml"
HEALTHY_SECONDS = 240
_OWNED = {"/var/lib/postgresql/data": 0o700, "/var/lib/evolve": 0o750, "/var/lib/mlflow": 0o750}
"""Folders that the images make for their users; a new volume takes that over."""


class Arrangement:
    """All services of the file, each in a container.

    Args:
        folder: Where volumes and logs are.
        binaries: Where the PostgreSQL server's programs are.
        settings: Variables of the file, beside its secrets, which are made up.
    """

    def __init__(self, folder: Path, binaries: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.secrets = {name: secrets.token_hex(32) for name in secrets_wanted(COMPOSE.read_text())}
        self.file = load(COMPOSE, {**self.secrets, **settings})
        self.services: dict[str, dict[str, Any]] = self.file["services"]
        self._binaries = binaries
        networks = {name: options.get("internal", False) for name, options in self.file["networks"].items()}
        members = {name: service["networks"] for name, service in self.services.items()}
        self.engine = Engine(folder, networks, {**members, "once": list(networks), "stranger": list(networks)})
        self._healthy: set[str] = set()
        for name in self.file["volumes"]:
            (folder / f"volume-{name}").mkdir()

    def up(self, *names: str) -> None:
        """Start services, each as soon as those that it waits for are well, and wait until all are."""
        wanted = list(names or self.services)
        for name in [name for name, each in self.engine.containers.items() if not each.is_running]:
            del self.engine.containers[name]
            self._healthy.discard(name)
        deadline = time.monotonic() + HEALTHY_SECONDS
        checks: dict[str, threading.Thread] = {}
        while not self._healthy.issuperset(wanted):
            for name in wanted:
                if name not in self.engine.containers and self._may_start(name):
                    self.start(name)
            for name, container in self.engine.containers.items():
                if name in self._healthy or name not in self.services:
                    continue
                assert container.is_running, f"{name} ended: {container.said[-4000:]}"
                if name not in checks or not checks[name].is_alive():
                    checks[name] = threading.Thread(target=self._check, args=(name,))
                    checks[name].start()
            late = {name: each.said[-2000:] for name, each in self.engine.containers.items()}
            assert time.monotonic() < deadline, f"only {self._healthy} are well: {late}"
            time.sleep(0.3)
        for each in checks.values():
            each.join()

    def _check(self, name: str) -> None:
        if self.is_well(name):
            self._healthy.add(name)
        else:
            time.sleep(float(self.services[name]["healthcheck"]["start_interval"].removesuffix("s")))

    def is_well(self, name: str) -> bool:
        """Whether its health check passes now."""
        kind, *command = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        try:
            return self.engine.containers[name].enter(command, 60).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _may_start(self, name: str) -> bool:
        reached = {"service_started": self.engine.containers.keys(), "service_healthy": self._healthy}
        conditions = self.services[name].get("depends_on", {})
        return all(other in reached[each["condition"]] for other, each in conditions.items())

    def start(self, name: str) -> Container:
        """A container of a service."""
        spec = self._spec(name, self.services[name].get("command", []))
        self._own_volumes(spec)
        self._healthy.discard(name)
        return self.engine.run(spec)

    def _own_volumes(self, spec: Spec) -> None:
        for target, (outside, writable) in spec.volumes.items():
            if writable and target in _OWNED:
                os.chown(outside, spec.user, spec.user)
                outside.chmod(_OWNED[target])

    def run(self, name: str, command: Sequence[str], seconds: float = 120) -> str:
        """What a command says in a container of its own, as `docker compose run --rm` makes it; it must succeed."""
        spec = replace(self._spec(name, command), name="once")
        self._own_volumes(spec)
        container = Container(self.engine, spec)
        try:
            code = container.process.wait(seconds)
        finally:
            container.kill()
        assert code == 0, container.said
        return container.said

    def _spec(self, name: str, command: Sequence[str]) -> Spec:
        service = self.services[name]
        environment = {str(key): str(value) for key, value in service.get("environment", {}).items()}
        shown = {"/app/docker": ROOT / "docker"}
        shown |= {str(ROOT / each): ROOT / each for each in ("api", "evolve", "search_spaces", "workers")}
        if "build" in service:
            user = int(service["user"].partition(":")[0])
            assert user == PROGRAM_USER
            environment = {**image_environment(), "PYTHONPATH": str(ROOT), **environment}
        else:
            user = POSTGRES_USER
            environment = {"PATH": f"{self._binaries}:/usr/bin:/bin", **environment}
            shown = {"/entry": Path(__file__).with_name("postgres_entry.sh"), str(self._binaries): self._binaries}
            command = ["bash", "/entry", *command]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        return Spec(
            name=name,
            command=list(command),
            environment=environment,
            user=user,
            networks=service["networks"],
            read_only=service["read_only"],
            memory_disks=dict(disk.partition(":")[::2] for disk in service["tmpfs"]),
            volumes=dict(self._volume(each) for each in service.get("volumes", [])),
            shared_memory=str(service.get("shm_size", "64m")).replace("b", ""),
            shown=shown,
        )

    def _volume(self, text: str) -> tuple[str, tuple[Path, bool]]:
        source, target, *mode = text.split(":")
        if source in self.file["volumes"]:
            outside = self.folder / f"volume-{source}"
        else:
            outside = Path(source) if source.startswith("/") else ROOT / source
        return target, (outside, mode != ["ro"])

    def stranger(self, networks: Sequence[str]) -> Container:
        """A machine beside the services, which is given no secrets."""
        spec = Spec("stranger", ["sleep", "infinity"], {"PATH": image_environment()["PATH"]}, 12345, networks)
        return self.engine.run(spec)

    def close(self) -> None:
        self.engine.close()


_MESSENGER = """
import json, sys, urllib.error, urllib.request
for line in sys.stdin:
    method, url, headers, body = json.loads(line)
    request = urllib.request.Request(url, method=method, headers=headers, data=body and json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        said = error.status, error.read().decode()
    except OSError as error:
        said = 0, str(error)
    print(json.dumps(said), flush=True)
"""


class Messenger:
    """Makes requests from inside a container."""

    def __init__(self, container: Container) -> None:
        command = container.inside([sys.executable, "-c", _MESSENGER])
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> tuple[int, Any]:
        """Status and answer, JSON where it is; status 0 and why if there is none."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wanted = {**(headers or {}), **({"Content-Type": "application/json"} if body else {})}
        self._process.stdin.write(json.dumps([method, url, wanted, body]) + "\n")
        self._process.stdin.flush()
        status, text = json.loads(self._process.stdout.readline())
        try:
            return status, json.loads(text)
        except json.JSONDecodeError:
            return status, text

    def close(self) -> None:
        with self._process as process:
            process.terminate()
