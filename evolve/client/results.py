"""The part of the client that is about what searches have found."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from evolve.client.http import Connection, path_of
from evolve.client.reading import Page, read, read_page
from evolve.client.records import Best, Comparison, Generation, Individual, IndividualDetail


class Results:
    """Individuals, the best of them, files and comparisons; see `evolve.client.Client`."""

    _connection: Connection

    def generations(self, ref: str) -> Page[Generation]:
        """The generations of a search, in their order."""
        return read_page(Generation, self._connection.get(f"{path_of(ref)}/generations"))

    def individuals(
        self,
        ref: str,
        *,
        sort: str | None = None,
        states: Collection[str] | None = None,
        generation: int | None = None,
        failure: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Page[Individual]:
        """A page of individuals, by number unless `sort` says otherwise.

        Args:
            ref: Their search, as for `Client.search`; so in every method here.
            sort: `number`, `-number`, `fitness` or `-fitness`.
            states: Only those in one of these.
            generation: Only those of this one.
            failure: Only those that failed in this way.
            limit: Length of the page.
            offset: How many to skip.
        """
        given = {
            "sort": sort,
            "state": list(states) if states else None,
            "generation": generation,
            "failure": failure,
        }
        path = f"{path_of(ref)}/individuals"
        return read_page(Individual, self._connection.get(path, **given, limit=limit, offset=offset))

    def individual(self, ref: str, number: int) -> IndividualDetail:
        """An individual with its genome, lineage, attempts and epoch curves."""
        return read(IndividualDetail, self._connection.get(f"{path_of(ref)}/individuals/{number}"))

    def best(self, ref: str) -> Best:
        """The fittest individual as a configuration to train with."""
        return read(Best, self._connection.get(f"{path_of(ref)}/best", format="json"))

    def best_yaml(self, ref: str, *, stock: bool = False) -> str:
        """The same as YAML for `evolve train --params`; with `stock`, only what `yolo train cfg=` knows of it."""
        params = {"format": "yaml", "stock": stock}
        return self._connection.request("GET", f"{path_of(ref)}/best", params=params).text

    def weights(self, ref: str, to: str | Path) -> Path:
        """Download the weights of the fittest individual to a file, or into a folder."""
        return self._download(ref, "best/weights", to, "pt", "weights")

    def report(self, ref: str, to: str | Path) -> Path:
        """Download the report, one HTML file, to a file or into a folder."""
        return self._download(ref, "report", to, "html", "report")

    def _download(self, ref: str, what: str, to: str | Path, ending: str, name: str) -> Path:
        target = Path(to)
        if target.is_dir():
            target = target / f"{_file_name(ref)}.{ending}"
        return self._connection.download(f"{path_of(ref)}/{what}", target, name)

    def compare(self, refs: Sequence[str]) -> Comparison:
        """Searches side by side."""
        return read(Comparison, self._connection.get("/compare", ids=",".join(refs)))


def _file_name(ref: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ref).lstrip(".") or "search"
