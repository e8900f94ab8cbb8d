"""How much the service bears, with its clients on the same cores: submissions, looks, event streams.

A hundred clients, each with a key of its own, on loopback, against the REST application over SQLite and over a real
PostgreSQL, with a thousand searches and a hundred thousand individuals in the ledger. Rates that must be borne are
offered at their times whether or not answers come (so a stalled server cannot hide), and once more as fast as the
clients can. No search is driven meanwhile, as trainings would be measured instead.

    python benchmarks/service_load.py
    python benchmarks/service_load.py --backend sqlite --seconds 10 --stream-seconds 20

Prints one JSON line for each part, with its goals and whether they were met; exits with 1 if one was not.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from evolve.keys import make_key
from evolve.ledger import IndividualRecord, Ledger, SearchState
from evolve.ledger.database import Database
from evolve.ledger.models import epochs, evaluations, events, individuals, searches
from evolve.space import load_space
from evolve.trial import EpochReport, TrialSpec

METRIC = "metrics/mAP50-95(B)"
SPACE = "yolo12n"
POPULATION = 10
EPOCHS = 3
WARM_UP = 2.0
STREAMED = 20
"""Searches that the event streams follow."""


@dataclass(frozen=True)
class Goal:
    """What must be reached on a database."""

    post: float
    post_p99: float = 0.5
    get: float = 300.0
    get_p99: float = 0.2
    lag: float = 2.0


GOALS = {"sqlite": Goal(post=50), "postgresql": Goal(post=100)}


# the ledger


def fill(url: str, amount: int, total: int) -> list[str]:
    """Write finished searches with individuals, evaluations, epochs and events; returns their ids."""
    database, document = Database(url), load_space(SPACE).document()
    ids = [f"{number:08x}" for number in range(amount)]
    each = total // amount
    for start in range(0, amount, 50):
        part = ids[start : start + 50]
        with database.writing() as connection:
            connection.execute(searches.insert(), [_search(search_id, each, document) for search_id in part])
            for table, make in ((individuals, _individual), (evaluations, _evaluation)):
                connection.execute(table.insert(), [make(one, n) for one in part for n in range(each)])
            connection.execute(
                epochs.insert(), [row for one in part for n in range(each) for row in _epochs(one, n)]
            )
            connection.execute(events.insert(), [row for one in part for row in _events(one)])
    database.close()
    return ids


def _search(search_id: str, each: int, document: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": search_id, "name": f"search {search_id}", "state": "completed", "last_event": 2, "created_at": 1e9,
        "started_at": 1e9, "finished_at": 2e9, "evaluated": each, "trained": each, "best_individual": each - 1,
        "best_fitness": 0.5, "default_fitness": 0.4, "objective": "yolo12", "directory": f"/searches/{search_id}",
        "data_hash": "0" * 64, "document": document, "options": {"workers": 2}, "environment": {"gpus": []},
        "managed": True,
    }  # fmt: skip


def _individual(search_id: str, number: int) -> dict[str, Any]:
    params = {f"gene_{index}": number / (index + 1) for index in range(30)}
    parents = (
        [max(0, number - 1 - number * step % (2 * POPULATION)) for step in (7, 13)] if number > POPULATION else []
    )
    return {
        "search_id": search_id, "number": number, "generation": number // POPULATION, "told": number,
        "state": "completed", "fitness": (number * 7919 % 1000) / 1000, "attempts": 1, "key": f"{number:064x}",
        "metrics": {METRIC: 0.5}, "genome": [0.5] * 30, "params": params,
        "parents": parents, "operators": ["uniform_crossover"],
        "origins": dict.fromkeys(params, f"inherited:{parents[0]}" if parents else "sampled"),
    }  # fmt: skip


def _evaluation(search_id: str, number: int) -> dict[str, Any]:
    arguments = {f"argument_{index}": index for index in range(60)}
    return {
        "search_id": search_id, "individual": number, "attempt": 1, "state": "completed", "seed": 0,
        "epochs": EPOCHS, "epochs_trained": EPOCHS, "created_at": 1e9, "started_at": 1e9, "finished_at": 1e9 + 60,
        "seconds": 60.0, "gpu_seconds": 60.0, "worker": "host/gpu0", "weights": None, "requested": arguments,
        "effective": arguments, "differences": {}, "metrics": {METRIC: 0.5}, "notes": [],
    }  # fmt: skip


def _epochs(search_id: str, number: int) -> Iterator[dict[str, Any]]:
    for epoch in range(1, EPOCHS + 1):
        yield {
            "search_id": search_id, "individual": number, "attempt": 1, "epoch": epoch, "seconds": 20.0 * epoch,
            "metrics": {METRIC: 0.1 * epoch},
        }  # fmt: skip


def _events(search_id: str) -> Iterator[dict[str, Any]]:
    for sequence, kind in enumerate(("search_created", "search_finished"), 1):
        yield {
            "search_id": search_id,
            "sequence": sequence,
            "kind": kind,
            "at": 1e9,
            "data": {"state": "completed"},
        }


# the server


def serve(url: str, home: str, port: int) -> None:
    """Run the application; nothing drives its searches."""
    import uvicorn

    from api.app import create_app
    from api.options import Limits, ServiceOptions
    from api.supervisor import PoolStatus
    from evolve.settings import Settings

    class Idle:
        def poke(self) -> None: ...

        def snapshot(self) -> PoolStatus:
            return PoolStatus(slots=0, used=0, gpus=0.0)

    options = ServiceOptions(port=port, limits=Limits())
    app = create_app(Ledger(url), Settings(home=Path(home)), Idle(), options=options)
    uvicorn.run(app, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5)


@contextmanager
def served(url: str, home: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A server in a process of its own; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, __file__, "--serve", url, "--home", str(home), "--port", str(port)]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 60
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the server does not start")
                time.sleep(0.1)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


# the clients


@dataclass
class Client:
    """One connection that is kept open; as little code as HTTP/1.1 allows, since it runs on the server's cores."""

    port: int
    key: str
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter = field(init=False)

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)

    async def send(self, method: str, path: str, body: bytes = b"", extra: str = "") -> int:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.key}\r\n{extra}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await self.reader.readexactly(int(length or 0))
        return int(answer[9:12])


Request = tuple[str, str, bytes, str]


@dataclass
class Outcome:
    """What came of a run."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    elapsed: float = 0.0
    cpu: float = 0.0

    def figures(self) -> dict[str, Any]:
        ordered = sorted(self.seconds) or [0.0]
        return {
            "rate": round(len(self.seconds) / self.elapsed, 1),
            "server_cpu_ms": round(1000 * self.cpu / max(1, len(self.seconds)), 2),
            "p50_ms": round(1000 * ordered[len(ordered) // 2], 1),
            "p99_ms": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 1),
            "statuses": {str(status): amount for status, amount in sorted(self.statuses.items())},
        }

    @property
    def good(self) -> bool:
        return bool(self.statuses) and all(200 <= status < 300 for status in self.statuses)


async def load(
    clients: Sequence[Client],
    make: Callable[[], Request],
    seconds: float,
    rate: float | None,
    server: psutil.Process,
) -> Outcome:
    """Send requests for some seconds: at a rate, each at its time, or as fast as answers come."""
    outcome, began, used = Outcome(), time.perf_counter() + 0.1, sum(server.cpu_times()[:2])
    due = (began + index / rate for index in itertools.count()) if rate else None

    async def work(client: Client) -> None:
        while True:
            planned = next(due) if due else max(began, time.perf_counter())
            if planned >= began + seconds:
                return
            await asyncio.sleep(max(0.0, planned - time.perf_counter()))
            status = await client.send(*make())
            outcome.seconds.append(time.perf_counter() - planned)
            outcome.statuses[status] += 1

    await asyncio.gather(*map(work, clients))
    outcome.elapsed = time.perf_counter() - began
    outcome.cpu = sum(server.cpu_times()[:2]) - used
    return outcome


def submissions() -> Callable[[], Request]:
    numbers = itertools.count()

    def make() -> Request:
        number = next(numbers)
        body = {"space": SPACE, "data": "demo", "name": f"load {number}", "overrides": {"search.seed": number}}
        return (
            "POST",
            "/api/v1/searches",
            json.dumps(body).encode(),
            f"Idempotency-Key: {time.time_ns()}-{number}\r\n",
        )

    return make


def looks(ids: Sequence[str], each: int) -> Callable[[], Request]:
    chance = random.Random(0)

    def make() -> Request:
        path = f"/searches/{chance.choice(ids)}"
        choice = chance.random()
        if choice < 0.3:
            path = f"/searches?limit=50&offset={50 * chance.randrange(20)}"
        elif choice < 0.45:
            path += "/individuals?sort=-fitness&limit=50"
        elif choice < 0.6:
            path += "/generations"
        elif choice < 0.65:
            path += f"/individuals/{chance.randrange(each)}"
        return "GET", f"/api/v1{path}", b"", ""

    return make


# the streams


class Writer(threading.Thread):
    """Lets things happen to searches, a few times a second."""

    def __init__(self, url: str, ids: Sequence[str], per_second: float) -> None:
        super().__init__(daemon=True)
        self._ledger, self._ids, self._pause = Ledger(url), ids, 1 / per_second
        self._end = threading.Event()
        self.sequences: dict[str, int] = {}

    def run(self) -> None:
        leases = {search_id: self._ledger.acquire(search_id, ttl=600) for search_id in self._ids}
        for search_id, lease in leases.items():
            with lease.transaction() as writing:
                writing.start(resumed=False)
                writing.propose(IndividualRecord(search_id, 0, 0, (0.5,), {"lr0": 0.01}, "key"))
                writing.submit(TrialSpec(search_id, 0, 1, {"lr0": 0.01}, {"epochs": 10**6}, 0, "/trials/0"))
                writing.started(0, 1, "host/gpu0")
        for epoch in itertools.count(1):
            search_id = self._ids[epoch % len(self._ids)]
            with leases[search_id].transaction() as writing:
                writing.reported(0, 1, EpochReport(epoch, 10**6, {METRIC: 0.5}, float(epoch)))
            if self._end.wait(self._pause):
                break
        for lease in leases.values():
            lease.release(SearchState.CANCELLED, "the end")
        self.sequences = self._ledger.heads(self._ids)
        self._ledger.close()

    def finish(self) -> None:
        self._end.set()
        self.join()


async def listen(port: int, key: str, search_id: str, lags: list[float]) -> tuple[str, list[int]]:
    """Follow a search to its end; returns the sequence numbers that came."""
    client = Client(port, key)
    await client.open()
    path = f"/api/v1/searches/{search_id}/events"
    client.writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    if not (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200"):
        raise SystemExit("a stream was refused")
    heard: list[int] = []
    while True:
        line = await client.reader.readline()
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            heard.append(event["sequence"])
            if event["kind"] == "epoch_reported":
                lags.append(time.time() - event["at"])
        elif line == b"0\r\n":  # the last chunk
            client.writer.close()
            return search_id, heard


async def follow(port: int, keys: Sequence[str], url: str, ids: Sequence[str], args: argparse.Namespace) -> Any:
    """Streams for some time, with a few events a second."""
    lags: list[float] = []
    listeners = [
        asyncio.create_task(listen(port, keys[index % len(keys)], ids[index % len(ids)], lags))
        for index in range(args.streams)
    ]
    await asyncio.sleep(WARM_UP)
    writer = Writer(url, ids, args.events_per_second)
    writer.start()
    await asyncio.sleep(args.stream_seconds)
    await asyncio.to_thread(writer.finish)
    heard = await asyncio.wait_for(asyncio.gather(*listeners), 60)
    whole = all(numbers == list(range(1, writer.sequences[search_id] + 1)) for search_id, numbers in heard)
    return sorted(lags) or [float("inf")], whole


# the benchmark


class Bench:
    """All parts on one database."""

    def __init__(self, backend: str, url: str, args: argparse.Namespace) -> None:
        self.backend, self.url, self.args = backend, url, args
        self.goal = GOALS[backend]
        self.failed = False

    def say(self, part: str, goals: dict[str, bool], **figures: Any) -> None:
        self.failed |= not all(goals.values())
        print(json.dumps({"backend": self.backend, "part": part, **figures, "goals": goals}), flush=True)

    def run(self, home: Path) -> bool:
        began = time.monotonic()
        ids = fill(self.url, self.args.searches, self.args.individuals)
        with Ledger(self.url) as ledger:
            made = [make_key(f"client {number}", ["submit"]) for number in range(self.args.clients)]
            for new, _ in made:
                ledger.registry.add_key(**new)
        keys = [token for _, token in made]
        self.say("fill", {}, seconds=round(time.monotonic() - began, 1), individuals=self.args.individuals)
        with served(self.url, home) as (port, server):
            asyncio.run(self._parts(port, server, keys, ids))
        return self.failed

    async def _parts(self, port: int, server: psutil.Process, keys: list[str], ids: list[str]) -> None:
        clients = [Client(port, key) for key in keys]
        for client in clients:
            await client.open()
        goal, seconds = self.goal, self.args.seconds
        look, submit = looks(ids, self.args.individuals // self.args.searches), submissions()
        await load(clients, look, WARM_UP, 50, server)
        await load(clients, submit, WARM_UP, 10, server)

        found = await load(clients, look, seconds, goal.get / 2, server)
        figures = found.figures()
        self.say(
            "get at half the rate", {"p99": figures["p99_ms"] <= 1000 * goal.get_p99, "ok": found.good}, **figures
        )
        found = await load(clients, look, seconds, None, server)
        self.say("get", {"rate": found.figures()["rate"] >= goal.get, "ok": found.good}, **found.figures())
        found = await load(clients, submit, seconds, goal.post, server)
        figures = found.figures()
        goals = {"rate": figures["rate"] >= 0.95 * goal.post, "p99": figures["p99_ms"] <= 1000 * goal.post_p99}
        self.say("post", {**goals, "ok": found.good}, **figures)
        found = await load(clients, submit, seconds, None, server)
        self.say("post as fast as it goes", {"ok": found.good}, **found.figures())
        for client in clients:
            client.writer.close()
        if self.args.streams:
            await self._streams(port, keys)

    async def _streams(self, port: int, keys: list[str]) -> None:
        with Ledger(self.url) as ledger:
            fresh = [each.id for each in ledger.search_page(states=[SearchState.CREATED], limit=STREAMED)[0]]
        lags, whole = await follow(port, keys, self.url, fresh, self.args)
        self.say(
            "streams",
            {"lag": lags[-1] <= self.goal.lag, "nothing missed": whole},
            streams=self.args.streams,
            seconds=self.args.stream_seconds,
            events_heard=len(lags),
            p50_ms=round(1000 * lags[len(lags) // 2]),
            p99_ms=round(1000 * lags[int(0.99 * (len(lags) - 1))]),
            longest_ms=round(1000 * lags[-1]),
        )


@contextmanager
def database(backend: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if backend == "sqlite":
        yield f"sqlite:///{folder}/ledger.db"
        return
    import pgserver

    server = pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part with requests")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--searches", type=int, default=1000)
    parser.add_argument("--individuals", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--stream-seconds", type=float, default=120.0)
    parser.add_argument("--events-per-second", type=float, default=20.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--home", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.home, args.port)
        return 0
    failed = False
    for backend in ("sqlite", "postgresql") if args.backend == "both" else (args.backend,):
        with tempfile.TemporaryDirectory(prefix="evolve-load-") as scratch, database(backend, Path(scratch)) as url:
            failed |= Bench(backend, url, args).run(Path(scratch))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
