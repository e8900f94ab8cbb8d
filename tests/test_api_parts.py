"""Parts of the service by themselves: its threads, its metrics, its documentation."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from api.docs import render
from api.metrics import Metrics
from api.threads import HEAVY, Threads
from api_helpers import FakeSupervisor, make_app
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
