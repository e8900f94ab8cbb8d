"""The API against its own OpenAPI document: whatever is sent, it answers as that says, and never with a 5xx.

`EVOLVE_SCHEMATHESIS_EXAMPLES=1000` makes the full test of it, with ten minutes of chains of operations at its end;
the suite sends a few for each operation.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from api.events import EventHub, _Channel
from api_helpers import add_key
from evolve.ledger import Ledger, SearchState
from ledger_fixtures import begin, live
from search_helpers import create, run
from spaces import space
from test_api_events import Served

EXAMPLES = int(os.environ.get("EVOLVE_SCHEMATHESIS_EXAMPLES", "2"))
MANY = 100
LIMIT_SECONDS = 400 if EXAMPLES < MANY else 4 * 3600
CHAINS_SECONDS = 600

CONFIGURATION = """
[checks.positive_data_acceptance]
# rules such as low < high, and that a path exists, are more than a schema can say
expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

[checks.negative_data_rejection]
# a text above its length may make the body longer than is read
expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "415", "422"]
"""

FOR_A_FINISHED_SEARCH = ("get_individual", "get_best", "list_individuals", "list_generations", "stream_events")


OF_THE_BEST = ("get_best", "get_best_weights")
"""A search that was created just now is there, but nothing of it is the best yet."""


def configuration(finished: str, interrupted: str) -> str:
    """What Schemathesis is told: where a schema says less than the rules, and which searches hold something."""
    ids = f'[dictionaries]\nids = {{ values = ["{finished}"] }}\n'
    ids += f'compared = {{ values = ["{finished},{interrupted}"] }}\n'
    settings = {
        operation: ['parameters."path.id" = { dictionary = "ids", probability = 0.8 }']
        for operation in FOR_A_FINISHED_SEARCH
    }
    settings["compare_searches"] = ['parameters."query.ids" = { dictionary = "compared", probability = 0.8 }']
    for operation in OF_THE_BEST:
        settings.setdefault(operation, []).append("checks.ensure_resource_availability.enabled = false")
    sections = [
        "\n".join(["[[operations]]", f'include-operation-id = "{operation}"', *lines, ""])
        for operation, lines in settings.items()
    ]
    return "\n".join([ids, CONFIGURATION, *sections])


class FiniteHub(EventHub):
    """Its streams end with what there is, so that a test of the whole API comes to an end."""

    async def _join(self, search_id: str) -> _Channel:
        channel = await super()._join(search_id)
        channel.over = True
        return channel


class Populated(Served):
    """A server with searches in several states, a data set, a webhook and some keys."""

    def __init__(self, ledger: Ledger, home: Path) -> None:
        super().__init__(ledger, home)
        parts = self.app.state.service
        self.hub = FiniteHub(ledger, parts.threads)
        self.app.state.service = replace(parts, hub=self.hub)
        finished = create(ledger, space(search={"generations": 2}), home, "finished")
        run(ledger, finished)
        interrupted = create(ledger, space(), home, "interrupted")
        lease = ledger.acquire(interrupted.id)
        with lease.transaction() as writing:
            writing.start(resumed=False)
            live(writing, interrupted.id, 0)
            begin(writing, interrupted.id, 1)
        lease.release(SearchState.INTERRUPTED, "the test")
        ledger.registry.add_dataset("helmets", "/data/helmets.yaml", "0" * 40, {"names": ["helmet"]})
        add_key(ledger, "read")
        add_key(ledger, "submit")
        (home / "schemathesis.toml").write_text(configuration(finished.id, interrupted.id))


@pytest.mark.slow
def test_nothing_that_is_sent_breaks_the_contract(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger, Populated(ledger, tmp_path) as service:
        tested = re.search(r"Tested: +(\d+)", send(service, tmp_path, "--max-examples", str(EXAMPLES)))
        assert tested
        assert int(tested[1]) == len(list(_operations(service)))
        if EXAMPLES >= MANY:
            send(service, tmp_path, "--phases", "stateful", "--max-time", str(CHAINS_SECONDS))


def send(service: Populated, folder: Path, *options: str) -> str:
    """Let Schemathesis send what it makes up; returns what it says."""
    command = [
        str(Path(sys.executable).with_name("st")), "run", f"{service.url}/openapi.json",
        "--header", f"Authorization: Bearer {service.key}",
        "--continue-on-failure", "--request-timeout", "60", "--no-shrink", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    shown = "\n".join(line[:300] for line in done.stdout.splitlines())
    assert done.returncode == 0, shown + done.stderr[-2000:]
    print(shown)
    return done.stdout


def _operations(service: Served) -> list[str]:
    paths = service.app.openapi()["paths"]
    return [f"{method} {path}" for path, methods in paths.items() for method in methods]
