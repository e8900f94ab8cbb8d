"""Parts of the service by themselves: its threads, its metrics, its documentation."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from api.docs import render
from api.metrics import Metrics
from api.threads import HEAVY, MOST_WAITING, MOST_WAITING_EACH, Crowded, Threads
from api_helpers import FakeSupervisor, add_key, line_of, make_app, opened
from evolve.exceptions import LedgerError
from evolve.ledger import Ledger


def test_threads_hand_back_results_and_errors() -> None:
    async def use(threads: Threads) -> list[object]:
        async def both(run) -> list[object]:
            with pytest.raises(ZeroDivisionError):
                await run(lambda: 1 / 0)
            return [await run(max, 3, 5), await run(int, "11", base=2)]

        return [await both(run) for run in (threads.read, threads.write, threads.judge, threads.heavy)]

    threads = Threads()
    assert asyncio.run(use(threads)) == [[5, 3]] * 4
    threads.close()


def test_what_is_heavy_runs_two_at_a_time_even_if_nobody_waits_any_more() -> None:
    running, most, lock, gate = [0], [0], threading.Lock(), threading.Event()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        gate.wait(10)
        with lock:
            running[0] -= 1

    async def use(threads: Threads) -> None:
        tasks = [asyncio.create_task(threads.heavy(work)) for _ in range(5)]
        await asyncio.sleep(0.2)
        tasks[0].cancel()  # its listener went away; its thread goes on
        await asyncio.sleep(0.2)
        assert most == [HEAVY]
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == [HEAVY]

    threads = Threads()
    asyncio.run(use(threads))
    threads.close()


def test_reads_do_not_wait_for_writes() -> None:
    gate = threading.Event()

    async def use(threads: Threads) -> None:
        writes = [asyncio.create_task(threads.write(gate.wait, 10)) for _ in range(20)]
        await asyncio.sleep(0)
        started = time.monotonic()
        assert await threads.read(max, 1, 2) == 2
        assert time.monotonic() - started < 5
        gate.set()
        await asyncio.gather(*writes)

    threads = Threads()
    asyncio.run(use(threads))
    threads.close()


def test_callers_take_turns_however_much_one_of_them_sends() -> None:
    gate, order = threading.Event(), []

    async def use(threads: Threads) -> None:
        first = asyncio.create_task(threads.judge_for("greedy", gate.wait, 10))
        await asyncio.sleep(0.05)  # it runs, so it waits no more
        works = [("greedy", number) for number in range(MOST_WAITING_EACH)] + [("modest", 0), ("modest", 1)]
        tasks = [
            asyncio.create_task(threads.judge_for(caller, order.append, (caller, each))) for caller, each in works
        ]
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(first, *tasks)

    threads = Threads()
    asyncio.run(use(threads))
    threads.close()
    assert order[:4] == [("greedy", 0), ("modest", 0), ("greedy", 1), ("modest", 1)]
    assert [each for caller, each in order if caller == "greedy"] == list(range(MOST_WAITING_EACH))


def test_only_so_much_may_wait_and_of_one_caller_only_a_little() -> None:
    gate = threading.Event()

    async def use(threads: Threads) -> None:
        tasks = [asyncio.create_task(threads.judge(gate.wait, 10))]
        await asyncio.sleep(0.05)  # it runs, so it waits no more
        for number in range(MOST_WAITING):
            tasks.append(asyncio.create_task(threads.judge_for(f"key {number // MOST_WAITING_EACH}", int)))
        await asyncio.sleep(0)
        with pytest.raises(Crowded):
            await threads.judge_for("another key", int)
        gate.set()
        await asyncio.gather(*tasks)
        gate.clear()
        tasks = [asyncio.create_task(threads.judge_for("key", gate.wait, 10))]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(threads.judge_for("key", int)) for _ in range(MOST_WAITING_EACH)]
        await asyncio.sleep(0)
        with pytest.raises(Crowded):
            await threads.judge_for("key", int)
        other = asyncio.create_task(threads.judge_for("another key", int))
        gate.set()
        assert (await asyncio.gather(*tasks, other))[-1] == 0

    threads = Threads()
    asyncio.run(use(threads))
    threads.close()


def test_what_waits_at_the_end_is_dropped() -> None:
    gate = threading.Event()

    async def use(threads: Threads) -> None:
        running = asyncio.create_task(threads.judge(gate.wait, 10))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(threads.judge(int))
        await asyncio.sleep(0)
        threads.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.set()
        assert await running

    asyncio.run(use(Threads()))


def test_too_many_documents_of_one_key_are_a_429_for_it_alone(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/ledger.db", tmp_path) as (api, ledger):
        reader, submitter = add_key(ledger, "read"), add_key(ledger, "submit")
        door, threads = api.app.state.service.doorkeeper, api.app.state.service.threads
        gate, greedy = threading.Event(), door.admit(reader).key_id
        waiting = [threads._judge.submit(greedy, lambda: gate.wait(10)) for _ in range(MOST_WAITING_EACH)]
        deadline = time.monotonic() + 10
        while not waiting[0].running() and time.monotonic() < deadline:
            time.sleep(0.01)
        waiting.append(threads._judge.submit(greedy, int))
        body = {"space": "demo", "objective": "synthetic"}
        refused = api.post("/check", key=reader, json=body)
        assert "too much waits" in line_of(refused, 429)
        assert refused.headers["Retry-After"] == "1"
        threading.Timer(0.1, gate.set).start()
        assert api.post("/searches", key=submitter, json=body).status_code == 201


def test_documents_and_comparisons_have_threads_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long YAML is no business of the event loop, and many sums are none of those that look keys up."""
    used: dict[str, str] = {}

    def noted(name: str, result: object):
        def work(*_: object) -> object:
            used[name] = threading.current_thread().name
            return result

        return work

    with opened(f"sqlite:///{tmp_path}/ledger.db", tmp_path) as (api, _):
        made = api.post("/searches", json={"space": "demo", "objective": "synthetic"}).json()
        monkeypatch.setattr("api.documents._parse_yaml", noted("read", {"priority": 3}))
        headers = {"Content-Type": "application/yaml"}
        changed = api.call("PATCH", f"/searches/{made['id']}", content=b"priority: 3", headers=headers)
        assert changed.json()["priority"] == 3
        monkeypatch.setattr("api.views.comparison", noted("compared", {"data": [], "count": 0, "genes": []}))
        assert api.get(f"/compare?ids={made['id']}").status_code == 200
    assert used["read"].startswith("api-judge")
    assert used["compared"].startswith("api-compare")


def test_the_end_waits_for_what_was_put_aside() -> None:
    done = []
    threads = Threads()
    threads.aside(lambda: (time.sleep(0.2), done.append(True)))
    threads.close()
    assert done == [True]


def test_metrics_outlive_a_ledger_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        metrics = Metrics(ledger, FakeSupervisor())
        metrics.answered("BREW", "/api/v1/searches", 200, 0.01)

        def away() -> None:
            raise LedgerError("ledger postgresql://secret: away")

        monkeypatch.setattr(ledger, "totals", away)
        text = metrics.text().decode()
        assert "evolve_ledger_up 0.0" in text
        assert "evolve_searches{" not in text
        assert 'method="other"' in text
        monkeypatch.undo()
        assert "evolve_ledger_up 1.0" in metrics.text().decode()
        monkeypatch.setattr(ledger, "totals", away)  # the sums are kept for some seconds
        assert "evolve_ledger_up 1.0" in metrics.text().decode()


def test_the_documentation_shows_text_as_text(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        document = make_app(ledger, tmp_path).openapi()
    operation = document["paths"]["/api/v1/searches"]["post"]
    operation["description"] = "<script>alert(1)</script> `<b>`"
    page = render(document)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; <code>&lt;b&gt;</code>" in page
    assert operation["x-scope"] == "submit"
    assert "Needs a key with the scope <code>submit</code>" in page
    for model in ("Submission", "NewKey", "NewDataset", "PriorityChange", "NewWebhook", "Problem"):
        assert f'id="schema-{model}"' in page
