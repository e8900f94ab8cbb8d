"""The part of the client that is about what searches have found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from evolve.client.http import Connection, path_of
from evolve.client.reading import Page, read, read_page
from evolve.client.records import Best, Comparison, Generation, Individual, IndividualDetail


class Results:
    """Individuals, the best of them, files and comparisons; see `evolve.client.Client`."""

    _connection: Connection

    def generations(self, search_id: str) -> Page[Generation]:
        """The generations of a search, in their order."""
        return read_page(Generation, self._connection.get(f"{path_of(search_id)}/generations"))

    def individuals(
        self,
        search_id: str,
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
            search_id: Their search.
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
        path = f"{path_of(search_id)}/individuals"
        return read_page(Individual, self._connection.get(path, **given, limit=limit, offset=offset))

    def individual(self, search_id: str, number: int) -> IndividualDetail:
        """An individual with its genome, lineage, attempts and epoch curves."""
        return read(IndividualDetail, self._connection.get(f"{path_of(search_id)}/individuals/{number}"))

    def best(self, search_id: str) -> Best:
        """The fittest individual as a configuration to train with."""
        return read(Best, self._connection.get(f"{path_of(search_id)}/best", format="json"))

    def best_yaml(self, search_id: str, *, stock: bool = False) -> str:
        """The same as YAML for `evolve train --params`; with `stock`, only what `yolo train cfg=` knows of it."""
        params = {"format": "yaml", "stock": stock}
        return self._connection.request("GET", f"{path_of(search_id)}/best", params=params).text

    def weights(self, search_id: str, to: str | Path) -> Path:
        """Download the weights of the fittest individual to a file, or into a folder."""
        return self._download(search_id, "best/weights", to, "pt", "weights")

    def report(self, search_id: str, to: str | Path) -> Path:
        """Download the report, one HTML file, to a file or into a folder."""
        return self._download(search_id, "report", to, "html", "report")

    def _download(self, search_id: str, what: str, to: str | Path, ending: str, name: str) -> Path:
        target = Path(to)
        if target.is_dir():
            target = target / f"{search_id}.{ending}"
        return self._connection.download(f"{path_of(search_id)}/{what}", target, name)

    def compare(self, search_ids: Sequence[str]) -> Comparison:
        """Searches side by side."""
        return read(Comparison, self._connection.get("/compare", ids=",".join(search_ids)))
