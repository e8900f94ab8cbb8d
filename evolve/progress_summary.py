"""The last words of a run: what was found, what it cost, and how to go on."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from evolve.formatting import best_label, clean, count, duration, failure_label, number, verdict
from evolve.ledger.records import SearchRecord, SearchState
from evolve.progress_state import ProgressState

_STATE_STYLES = {SearchState.COMPLETED: "bold green", SearchState.FAILED: "bold red"}


def failures_text(failures: Mapping[str, int]) -> str:
    """`2 out of memory, 1 diverged`, the most frequent first."""
    ordered = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{amount} {failure_label(kind)}" for kind, amount in ordered)


def summary_lines(search: SearchRecord, metric: str, seen: ProgressState, place: str | None = None) -> list[Text]:
    """What to print when the driver lets go of `search`, a line each.

    Args:
        search: The record as it stands at the end.
        metric: Name of the fitness.
        seen: What this process saw of it.
        place: Where to look further; the commands on the local ledger unless given.
    """
    lines = [_headline(search), _best(search, metric)]
    cost = f"{count(search.trained, 'training')}, {count(search.evaluated, 'individual')}"
    gpu = f", {duration(search.gpu_seconds)} of GPU" if search.gpu_seconds else ""
    lines.append(_labelled("cost", f"{cost} in {duration(seen.elapsed)}{gpu}"))
    if search.failed:
        kinds = failures_text(seen.failures)
        lines.append(_labelled("failed", count(search.failed, "trial") + (f": {kinds}" if kinds else "")))
    if seen.last_failure:
        lines.append(_labelled("", f"the last one: {clean(seen.last_failure)}"))
    lines.append(_labelled("next", clean(place) if place else "  ".join(next_commands(search))))
    return lines


def next_commands(search: SearchRecord) -> list[str]:
    """The commands that make sense from here."""
    commands = [] if search.state.is_over else [f"evolve resume {search.id}"]
    if search.best_individual is not None:
        commands.append(f"evolve best {search.id}")
    return [*commands, f"evolve report {search.id}"]


def _headline(search: SearchRecord) -> Text:
    line = Text.assemble((clean(search.name), "bold"), f" ({search.id}) ")
    line.append(search.state.value, _STATE_STYLES.get(search.state, "bold yellow"))
    if search.reason:
        line.append(f": {clean(search.reason)}")
    return line


def _best(search: SearchRecord, metric: str) -> Text:
    if search.best_individual is None:
        return _labelled("best", verdict(search))
    found = f"individual {search.best_individual}, {best_label(search, metric)} {number(search.best_fitness)}"
    return _labelled("best", f"{found}; {verdict(search)}")


def _labelled(label: str, text: str) -> Text:
    return Text.assemble((f"  {label:<7}", "dim"), text)
