"""The structure that the documentation promises, read from the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("evolve", "workers", "api")

HOMES: dict[str, str | tuple[str, ...]] = {
    "deap": "evolve/search/",
    "cmaes": "evolve/search/",
    "sqlalchemy": "evolve/ledger/",
    "alembic": "evolve/ledger/",
    "mlflow": "evolve/tracking/",
    "plotly": "evolve/report/",
    "optuna": "evolve/",
    "ray": ("workers/ray_", "evolve/integrations/ray_"),
    "torch": "workers/yolo12/",
    "torchvision": "workers/yolo12/",
    "ultralytics": "workers/yolo12/",
    "fastapi": "api/",
    "starlette": "api/",
    "nicegui": "api/dashboard/",
    "uvicorn": "api/",
    "prometheus_client": "api/",
}
COMPOSITION_ROOT = "evolve/compose/"


def sources() -> list[str]:
    return [str(path.relative_to(ROOT)) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}:{node.lineno} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("source", sources())
def test_a_library_is_imported_only_in_its_home(source: str) -> None:
    for name in imports(source):
        home = HOMES.get(name.partition(".")[0])
        assert home is None or source.startswith(home), f"{source} imports {name}, whose home is {home}"


@pytest.mark.parametrize("source", sources())
def test_imports_go_one_way(source: str) -> None:
    package = source.partition("/")[0]
    for name in imports(source):
        imported = name.partition(".")[0]
        if package == "evolve" and not source.startswith(COMPOSITION_ROOT):
            assert imported not in ("workers", "api"), f"{source} imports {name}"
        if package == "workers":
            allowed = name in SHARED_WITH_WORKERS or name.startswith("evolve.space")
            assert imported != "evolve" or allowed, f"{source} imports {name}"
            assert imported != "api", f"{source} imports {name}"


SHARED_WITH_WORKERS = (
    "evolve.trial",
    "evolve.exceptions",
    "evolve.dispatch",
    "evolve.yaml_io",
    "evolve.formatting",
)


def test_nothing_that_ships_depends_on_files_outside() -> None:
    for source in sources():
        assert "/shared" not in (ROOT / source).read_text(encoding="utf-8"), source


def test_the_public_names_are_there() -> None:
    import evolve

    for name in evolve.__all__:
        assert getattr(evolve, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        evolve.nothing  # noqa: B018


def test_the_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "ray", "mlflow", "pandas", "numpy", "sqlalchemy", "ultralytics", "deap", "optuna", "scipy")
    program = (
        "import sys; sys.argv = ['evolve', '--help']\n"
        "from evolve.cli import main\n"
        "try: main()\n"
        f"finally: print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.strip() == "[]"
    assert "resume" in done.stdout
    assert time.monotonic() - started < 10


def test_constraints_pin_versions_and_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line and "/" not in line and " " not in line for line in pins)
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in wanted:
        name = requirement.partition(">=")[0].partition("[")[0].lower().replace(".", "-").replace("_", "-")
        assert name in pinned, f"{requirement} is not pinned"


def test_style_and_types() -> None:
    done = subprocess.run(["scripts/check"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
