"""The MLflow store: where it is, how it is opened without haste or noise, and how it is looked at."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from filelock import FileLock

from evolve.exceptions import EvolveError, InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # By default a dead server costs seven retries of two minutes each; ours is asked again later anyway.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # Jobs are for judging language models; the eight processes that wait for them hold 2 GB.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
_SQLITE = "sqlite:///"
_INITIALISE_SECONDS = 120
_BUSY_SECONDS = 20


def open_store(uri: str) -> MlflowClient:
    """A client for the store at `uri`, which exists and has its tables afterwards.

    Raises:
        MlflowException: The store cannot be reached.
    """
    _configure()
    from mlflow import MlflowClient

    database = _sqlite_file(uri)
    if database is None:
        return MlflowClient(uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that create the tables at once can both fail, for good.
    with FileLock(f"{database}.lock", timeout=_INITIALISE_SECONDS):
        if not database.exists():
            _create(database)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
        _write_ahead(database)
    return client


def _create(database: Path) -> None:
    """Make the store in one step: MLflow can never open one whose creation was cut short by a kill."""
    from mlflow import MlflowClient

    # a driver that leaves meanwhile clears the draft away under the thread that still writes it
    with TemporaryDirectory(dir=database.parent, ignore_cleanup_errors=True) as folder:
        draft = Path(folder, database.name)
        MlflowClient(f"{_SQLITE}{draft}").search_experiments(max_results=1)
        draft.replace(database)


def prepare_store(uri: str) -> None:
    """Create the store at `uri` if it is a local file and not there yet, so that a server may open it.

    A server that this process starts afterwards is as quiet and as small as this process's own MLflow.
    """
    _configure()
    if _sqlite_file(uri) is not None:
        open_store(uri)


def check_store(uri: str) -> None:
    """Check that the store answers.

    Raises:
        EvolveError: it does not, or there can be none at such an address.
    """
    try:
        open_store(uri).search_experiments(max_results=1)
    except Exception as error:  # of MLflow, of the database's driver, or of the web client
        reason = f"{type(error).__name__}: {error}".strip().split("\n", 1)[0]
        raise EvolveError(
            f"MLFLOW_TRACKING_URI: MLflow must answer at {uri}, but got {reason:.200}; start it or correct this"
        ) from error


def artifact_folder(uri: str) -> Path | None:
    """Where a store in a local file keeps its artifacts: beside it. None where a server decides."""
    database = _sqlite_file(uri)
    return None if database is None else database.parent / "mlartifacts"


def is_server(uri: str) -> bool:
    """Whether the store is behind an MLflow server, which has pages of its own."""
    return uri.startswith(("http://", "https://"))


def ui_command(uri: str, port: int = 5000, host: str = "127.0.0.1") -> list[str]:
    """The command line that shows the store at `uri` in a browser at `http://<host>:<port>`.

    MLflow has no login of its own: whoever reaches `host` can read and delete everything.

    Raises:
        InputError: `uri` is the address of a server, which has its own pages.
    """
    if is_server(uri):
        raise InputError(f"MLFLOW_TRACKING_URI: a server shows its own pages; open {uri} in a browser")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    folder = artifact_folder(uri)
    if folder is not None:
        command += ["--default-artifact-root", str(folder)]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    return [*command, "--uvicorn-opts", "--log-level warning"]


def serve(command: Sequence[str]) -> int:
    """Run a server until it ends, or a signal ends it in order; returns its exit code.

    It has a session of its own: MLflow hands every signal on to its web server, so that a Ctrl-C which reaches
    both from the terminal would count twice, and twice means at once.
    """
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: server.terminate())
    return server.wait()


def _configure() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _write_ahead(database: Path) -> None:
    """Let pages be read while we write, and each of MLflow's many commits wait for the disk once, not thrice."""
    with closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def _sqlite_file(uri: str) -> Path | None:
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()
