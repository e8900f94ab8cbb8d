"""The wheel, as a stranger installs it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).parent / "uv"


def call(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not UV.exists(), reason="uv, which `make setup` installs, is not beside this Python")
def test_the_wheel_installs_into_an_empty_environment_and_answers(tmp_path: Path) -> None:
    call(UV, "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT, cwd=tmp_path)
    wheel = next(tmp_path.glob("*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {f"search_spaces/yolo12{size}.yaml" for size in "nsmlx"} | {"search_spaces/reference.yaml"}
    assert shipped <= set(names)
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "api",
        "evolve",
        "search_spaces",
        "workers",
    }
    assert any(name.startswith("evolve/ledger/migrations/versions/") for name in names)

    call(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "empty", cwd=tmp_path)
    python = tmp_path / "empty/bin/python"
    constraints = ROOT / "constraints.txt"
    call(UV, "pip", "install", "--quiet", "--python", python, "--constraint", constraints, wheel, cwd=tmp_path)
    evolve = tmp_path / "empty/bin/evolve"
    assert "resume" in call(evolve, "--help", cwd=tmp_path)
    assert "good" in call(evolve, "space", "check", "yolo12n", cwd=tmp_path)
    assert "no searches yet" in call(evolve, "list", cwd=tmp_path)
