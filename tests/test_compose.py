"""The files that a team deploys with: they keep Docker's rules, and ours."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from api.options import Limits
from compose_file import (
    PROGRAM_USER,
    dockerfile,
    image_environment,
    interpolate,
    load,
    secrets_wanted,
)
from containers import ROOT
from evolve.settings import Settings

COMPOSE = ROOT / "docker-compose.yml"
OVERRIDES = sorted((ROOT / "docker").glob("compose.*.yml"))
SECRETS = dict.fromkeys(secrets_wanted(COMPOSE.read_text()), "0" * 64)
OPTIONAL = {
    "EVOLVE_NFS_SERVER": "10.0.0.1",
    "EVOLVE_NFS_PATH": "/srv/evolve",
    "EVOLVE_DOMAIN": "evolve.example.com",
    "MLFLOW_DOMAIN": "mlflow.example.com",
}
FILE = load(COMPOSE, SECRETS)
SERVICES: dict[str, Any] = FILE["services"]
LIMITS = {f"EVOLVE_{name}".upper() for name in {*Limits.model_fields, "min_free_gb"} - {"allowed_hosts"}}
"""What `evolve serve` may be told beside what the file sets."""
PROGRAMS = {name: service for name, service in SERVICES.items() if "build" in service}


def problems(document: dict[str, Any]) -> list[str]:
    """What the rules of the compose specification say against a document."""
    kept = pytest.importorskip("check_jsonschema.builtin_schemas", reason="check-jsonschema brings the schema")
    text = files(kept).joinpath("vendor/compose-spec.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("path", [COMPOSE, *OVERRIDES], ids=lambda path: path.name)
def test_the_files_keep_the_specification(path: Path) -> None:
    assert problems(load(path)) == []
    assert problems(load(path, SECRETS | OPTIONAL)) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("evolve", "port", ["8000:8000"]),
        ("evolve", "healthcheck", {"test": ["CMD", "true"], "intervall": "1s"}),
        ("ray-worker", "deploy", {"resources": {"reservations": {"devices": [{"count": "all"}]}}}),
        ("postgres", "restart", True),
    ],
)
def test_the_specification_is_strict(service: str, key: str, value: object) -> None:
    broken = load(COMPOSE)
    broken["services"][service][key] = value
    assert problems(broken) != []


@pytest.mark.parametrize(
    "overrides",
    [[], ["cpu"], ["cluster"], ["tls"], ["cluster", "tls"]],
    ids=lambda names: "+".join(["compose", *names]),
)
def test_compose_itself_understands_the_files(overrides: list[str]) -> None:
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not on this machine")
    named = [COMPOSE, *(ROOT / f"docker/compose.{name}.yml" for name in overrides)]
    done = subprocess.run(
        [docker, "compose", *(part for path in named for part in ("-f", str(path))), "config", "--quiet"],
        env={**os.environ, **SECRETS, **OPTIONAL},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# Secrets


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_without_a_secret_nothing_starts_and_the_message_names_it(name: str) -> None:
    with pytest.raises(KeyError, match=rf"{name}: set it in \.env, see \.env\.example"):
        load(COMPOSE, {**SECRETS, name: ""})


def test_no_secret_has_a_value_in_the_files() -> None:
    for path in (COMPOSE, *OVERRIDES):
        for service in load(path)["services"].values():
            for key, value in service.get("environment", {}).items():
                if re.search(r"PASSWORD|TOKEN|SECRET", key):
                    assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{path.name}: {key}"


def test_the_example_of_settings_lists_all_and_gives_no_secret_away() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    empty = {line[:-1] for line in lines if re.fullmatch(r"[A-Z_]+=", line)}
    assert empty == set(SECRETS)
    shown = {line[1:].partition("=")[0] for line in lines if re.match(r"#[A-Z_]+=", line)}
    used = {name for path in (COMPOSE, *OVERRIDES) for name in re.findall(r"\$\{(\w+)", path.read_text())}
    assert shown == (used | LIMITS | {"COMPOSE_FILE"}) - empty


def test_the_limits_can_be_set_and_are_as_documented_unless_they_are() -> None:
    assert not LIMITS & set(SERVICES["evolve"]["environment"])
    set_to = load(COMPOSE, SECRETS | dict.fromkeys(LIMITS, "7"))["services"]["evolve"]["environment"]
    assert {name: set_to.get(name) for name in LIMITS} == dict.fromkeys(LIMITS, "7")
    defaults = Limits.model_fields | Settings.model_fields
    for name, value in re.findall(r"(?m)^#(\w+)=(.*)", (ROOT / ".env.example").read_text()):
        if name in LIMITS:
            assert float(value) == defaults[name.removeprefix("EVOLVE_").lower()].default


def test_data_sets_are_named_by_a_path_that_means_the_same_in_every_file() -> None:
    shown = dict(re.findall(r"(?m)^#(\w+)=(.*)", (ROOT / ".env.example").read_text()))
    assert shown["EVOLVE_DATASETS"].startswith("/")


def test_make_env_makes_secrets_once(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    shutil.copy(ROOT / ".env.example", tmp_path)
    call = ["sh", str(tmp_path / "docker/make-env")]
    subprocess.run(call, check=True, capture_output=True)
    written = tmp_path / ".env"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in written.read_text().splitlines() if re.match("[A-Z]", line))
    assert set(values) == set(SECRETS)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in values.values())
    assert len(set(values.values())) == len(values)

    again = subprocess.run(call, check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert again.stderr.startswith(".env: must not exist yet")
    assert len(again.stderr.splitlines()) == 1
    assert dict(line.split("=", 1) for line in written.read_text().splitlines() if line[:1].isupper()) == values


def test_secrets_are_neither_committed_nor_copied_into_an_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert not is_in_the_image(".env")
    assert not is_in_the_image(".git/config")


# What is exposed


def test_nothing_but_the_service_is_published_and_that_to_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"evolve": ["127.0.0.1:8000:8000"]}
    assert FILE["networks"] == {"frontend": {}, "backend": {"internal": True}}
    assert {name for name, service in SERVICES.items() if service["networks"] != ["backend"]} == {"evolve"}


def test_ray_asks_for_its_token_and_has_no_jobs_api() -> None:
    for name in ("ray-head", "ray-worker", "evolve"):
        assert SERVICES[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert SERVICES[name]["environment"]["RAY_AUTH_TOKEN"] == SECRETS["RAY_AUTH_TOKEN"]
    assert "--include-dashboard=false" in SERVICES["ray-head"]["command"][-1]


def test_mlflow_asks_for_a_password() -> None:
    assert "--app-name=basic-auth" in SERVICES["mlflow"]["command"]
    assert not [part for part in SERVICES["mlflow"]["command"] if "disable" in part]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert not {"privileged", "pid", "ipc", "network_mode", "devices"} & set(service)
    assert not [volume for volume in service.get("volumes", []) if "docker.sock" in volume]
    assert all(disk.startswith("/") for disk in service["tmpfs"])


# How it runs


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    for other, condition in service.get("depends_on", {}).items():
        if (name, other) != ("evolve", "ray-worker"):
            assert condition == {"condition": "service_healthy"}


def test_the_service_is_stopped_before_all_that_its_drivers_need() -> None:
    """`docker compose stop` goes from those that depend on others to those that nothing is needed by."""
    assert set(SERVICES["evolve"]["depends_on"]) == set(SERVICES) - {"evolve"}
    worker = SERVICES["evolve"]["depends_on"]["ray-worker"]
    assert worker == {"condition": "service_started", "required": False}  # a machine may have none


def test_what_is_kept_is_in_named_volumes_and_shared_where_it_must_be() -> None:
    home = image_environment()["EVOLVE_HOME"]
    for name in ("evolve", "ray-worker"):
        assert f"home:{home}" in SERVICES[name]["volumes"]
        assert "./datasets:/datasets:ro" in SERVICES[name]["volumes"]
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert set(FILE["volumes"]) == {name for name in used if not name.startswith(".")}


def test_a_worker_has_the_gpus_and_shared_memory_and_can_be_one_of_many() -> None:
    worker = SERVICES["ray-worker"]
    (devices,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert devices == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert worker["shm_size"] == "8gb"
    assert "container_name" not in worker
    assert "hostname" not in worker


def test_a_worker_of_another_machine_is_the_same_worker() -> None:
    here, away = SERVICES["ray-worker"], load(ROOT / "docker/compose.worker.yml", SECRETS | OPTIONAL)
    there = away["services"]["ray-worker"]
    different = {key for key in {*here, *there} if here.get(key) != there.get(key)}
    assert different == {"build", "depends_on", "volumes"}
    cluster = load(ROOT / "docker/compose.cluster.yml", SECRETS | OPTIONAL)
    assert away["volumes"] == cluster["volumes"]
    assert there["volumes"][:1] == cluster["services"]["ray-worker"]["volumes"]
    assert secrets_wanted((ROOT / "docker/compose.worker.yml").read_text()) & set(SECRETS) == {"RAY_AUTH_TOKEN"}


def test_whatever_is_called_is_in_the_image() -> None:
    ours = {script.name for script in entry_points(group="console_scripts")}
    for name, service in PROGRAMS.items():
        for command in (service["command"], service["healthcheck"]["test"][1:]):
            program = command[0]
            if program.startswith("/app/"):
                path = ROOT / program.removeprefix("/app/")
                assert path.stat().st_mode & 0o111 == 0o111, f"{name}: {path}"
                assert is_in_the_image(program.removeprefix("/app/"))
            else:
                assert program in ours | {"bash"}, f"{name}: {program}"
    assert SERVICES["mlflow"]["environment"]["MLFLOW_AUTH_CONFIG_PATH"] == "/app/docker/mlflow/basic_auth.ini"


# The image


def is_in_the_image(path: str) -> bool:
    """Whether `.dockerignore` lets a path of the repository through; the last rule that fits counts."""
    let_through = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        wanted = rule.removeprefix("**/")
        if any(fnmatch.fnmatch(each, wanted) or fnmatch.fnmatch(each, f"*/{wanted}") for each in above):
            let_through = line.startswith("!")
    return let_through


def test_the_image_is_of_the_tested_python_and_runs_as_nobody() -> None:
    steps = dockerfile()
    assert steps[0] == ("FROM", "python:3.11-slim-bookworm")
    assert [rest for name, rest in steps if name == "USER"] == [f"{PROGRAM_USER}:{PROGRAM_USER}"]
    assert f"useradd --uid {PROGRAM_USER}" in " ".join(rest for _, rest in steps)
    assert all(service["user"] == f"{PROGRAM_USER}:{PROGRAM_USER}" for service in PROGRAMS.values())
    assert [name for name, _ in steps].index("USER") > max(n for n, (name, _) in enumerate(steps) if name == "RUN")


def test_packages_are_pinned_and_cached_apart_from_the_code() -> None:
    steps = dockerfile()
    copies = [number for number, (name, _) in enumerate(steps) if name == "COPY"]
    assert [steps[number][1] for number in copies] == ["pyproject.toml constraints.txt ./", ". ."]
    between = [rest for name, rest in steps[copies[0] : copies[1]] if name == "RUN"]
    assert len(between) == 1
    assert between[0].count("--constraint constraints.txt") == 2
    assert "--requirement pyproject.toml" in between[0]


@pytest.mark.slow
def test_what_is_copied_into_the_image_is_enough_to_build_the_package(tmp_path: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("uv, which `make setup` installs, is not beside this Python")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not in a clone: what belongs to the repository is not known")
    for name in filter(is_in_the_image, tracked.stdout.splitlines()):
        (tmp_path / "context" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "context" / name)
    built = subprocess.run(
        [str(uv), "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(tmp_path / "context")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert len(list(tmp_path.glob("*.whl"))) == 1


def test_variables_are_replaced_as_compose_does() -> None:
    assert interpolate("${A}-${B:-b}-$${C}", {"A": "a"}) == "a-b-${C}"
    assert interpolate("${B:-b}", {"B": "x"}) == "x"


def test_every_command_of_the_guide_means_the_whole_deployment() -> None:
    """One with `-f` and a later one without would take the deployment apart."""
    for path in (ROOT / "docs/deploy.md", COMPOSE, *OVERRIDES):
        assert not re.findall(r"docker compose[^\n`]* (?:-f|--file|--env-file)\b.*", path.read_text()), path.name


def test_what_the_guide_names_is_there() -> None:
    guide = (ROOT / "docs/deploy.md").read_text()
    for path in set(re.findall(r"\bdocker/[\w.-]+", guide)):
        assert (ROOT / path).exists(), path
    for path in OVERRIDES:
        assert f"docker/{path.name}" in guide
    for files_read in re.findall(r"COMPOSE_FILE=([^\s\"`]+)", guide):
        assert all((ROOT / name).exists() for name in files_read.split(":")), files_read
    for name in SERVICES:
        assert f"| `{name}` |" in guide
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"(?m)^## (.+)", guide)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", guide)) <= anchors
