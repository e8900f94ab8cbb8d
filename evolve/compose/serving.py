"""The service, put together: ledger, supervisor, pool, web application, MLflow UI."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from filelock import FileLock, Timeout

from api.options import ServiceOptions
from api.server import check_host, listen, run
from api.supervisor import PoolStatus, Supervisor
from evolve.compose.notes import noted, read_note
from evolve.exceptions import InputError
from evolve.ledger import Ledger
from evolve.settings import Settings
from evolve.tracking.beside import UiBeside
from evolve.tracking.store import is_server

__all__ = ["Opened", "ServiceOptions", "serve"]

LOCK = "serve.lock"
PORT_SECONDS = 5.0
"""How long to wait for the port of an MLflow UI whose service was killed just now."""


@dataclass(frozen=True)
class Opened:
    """A service that answers.

    Attributes:
        url: Where.
        options: How it was started.
        settings: Where it keeps things.
        has_keys: Whether requests need a key.
        pool: What it trains on.
    """

    url: str
    options: ServiceOptions
    settings: Settings
    has_keys: bool
    pool: PoolStatus


def serve(settings: Settings, options: ServiceOptions, greet: Callable[[Opened], None]) -> PoolStatus:
    """Serve until a signal.

    Args:
        settings: Where things are kept.
        options: How to serve.
        greet: Called once requests are answered.

    Returns:
        What is left behind: drivers go on, and the next service takes them over.

    Raises:
        InputError: if it cannot be done like this, in one line.
    """
    with _alone_at_home(settings), Ledger(settings.ledger_url) as ledger, _alone_on(ledger):
        has_keys = ledger.registry.has_keys()
        check_host(options.host, has_keys=has_keys)
        sockets = listen(options.host, options.port)
        mlflow_port = None if is_server(settings.tracking_uri) else options.mlflow_port
        options = replace(options, port=sockets[0].getsockname()[1], mlflow_port=mlflow_port)
        url = _url(options)
        with noted(settings, url), _beside(settings, options) as ui:
            from api.app import create_app  # takes seconds, which a refusal need not wait for
            from api.dashboard import mount
            from api.service import empty_trash

            supervisor = Supervisor(ledger, settings, options)
            app = create_app(ledger, settings, supervisor, options=options)
            mount(app, ledger, settings, supervisor, options)

            def started() -> None:
                supervisor.start()
                threading.Thread(target=empty_trash, args=(settings,), name="trash", daemon=True).start()
                greet(Opened(url, options, settings, has_keys, supervisor.snapshot()))

            def leave() -> None:
                app.state.service.hub.close()
                ui.terminate()

            try:
                run(app, sockets, on_started=started, on_leaving=leave)
            finally:
                left = supervisor.stop()
        return left


@contextmanager
def _alone_on(ledger: Ledger) -> Iterator[None]:
    """No second service on the same ledger, wherever its home is."""
    with ledger.alone() as alone:
        if not alone:
            raise InputError(
                "EVOLVE_DATABASE_URL: a ledger must be served once, but another service, with another EVOLVE_HOME "
                "or on another machine, serves this one; use that one, or end it there with `evolve serve --stop`"
            )
        yield


@contextmanager
def _alone_at_home(settings: Settings) -> Iterator[None]:
    """No second service on the same home."""
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        note = read_note(settings)
        who = f"process {note.pid} at {note.url}" if note else "another process"
        raise InputError(
            f"EVOLVE_HOME: {settings.home} must be served once, but {who} serves it; "
            "use that one, or end it with `evolve serve --stop`"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _beside(settings: Settings, options: ServiceOptions) -> Iterator[UiBeside]:
    """The MLflow UI, if it is wanted."""
    ui = UiBeside(settings.home.absolute() / "mlflow-ui.log")
    try:
        if options.mlflow_port is not None:
            _await_port(options.mlflow_port)
            ui.start(settings.tracking_uri, options.mlflow_port)
        yield ui
    finally:
        ui.terminate()
        ui.wait()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + PORT_SECONDS
    while True:
        try:
            for each in listen("127.0.0.1", port, "--mlflow-port"):
                each.close()
            return
        except InputError as error:
            if time.monotonic() > deadline:
                raise InputError(f"{error}, or --no-mlflow-ui") from None
            time.sleep(0.2)


def _url(options: ServiceOptions) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(options.host, options.host)  # noqa: S104 - not bound here
    return f"http://{f'[{host}]' if ':' in host and '[' not in host else host}:{options.port}"
