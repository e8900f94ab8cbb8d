"""What follows from the record of a search: how far it is, how long it will take, what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, cast

from api.auth import Principal
from evolve.fitness import DEFAULT_METRIC, Fitness
from evolve.formatting import duration, fitness_label, gain_text, number
from evolve.importance import Genes
from evolve.ledger.records import Request, SearchRecord, SearchState
from evolve.models import model_label
from evolve.searches import is_driven
from evolve.trial import Json, TrialFailed

HOUR = 3600.0


def fitness_of_search(search: SearchRecord) -> Fitness:
    """What the search maximises."""
    try:
        return Fitness.parse(search.document.get("fitness", DEFAULT_METRIC))
    except ValueError:  # a document from elsewhere; its individuals have a fitness all the same
        return Fitness({DEFAULT_METRIC: 1.0})


def metric_of(search: SearchRecord) -> str:
    """What the fitness is called."""
    return fitness_label(fitness_of_search(search).weights)


def value_of(fitness: Fitness, metrics: Mapping[str, float]) -> float | None:
    """The fitness that these metrics amount to; None where they do not tell."""
    try:
        return fitness.of(metrics)
    except TrialFailed:
        return None


def genes_of(search: SearchRecord) -> Genes:
    """The genes as the document describes them."""
    return cast("Genes", _section(search, "genes"))


def population_of(search: SearchRecord) -> int:
    """Individuals in a generation, 1 where that is not known."""
    return _whole(_section(search, "search").get("population")) or 1


def total_of(search: SearchRecord) -> int | None:
    """How many individuals it evaluates at most; None where only a stop rule ends it."""
    settings = _section(search, "search")
    population, generations = _whole(settings.get("population")), _whole(settings.get("generations"))
    if not population or not generations:
        return None
    most = _whole(_section(search, "stop").get("evaluations"))
    return min(population * generations, most) if most else population * generations


def progress_of(search: SearchRecord) -> float | None:
    """The part that is done, from 0 to 1."""
    total = total_of(search)
    if search.state is SearchState.COMPLETED:
        return 1.0
    return min(1.0, search.evaluated / total) if total else None


def workers_of(search: SearchRecord) -> int | None:
    """Trials at once, as far as is known."""
    return search.allotment if search.managed else _whole(search.options.get("workers"))


def remaining_of(search: SearchRecord) -> float | None:
    """Seconds to go by what a training took so far; None while that is not known, or nobody drives the search."""
    total = total_of(search)
    if total is None or not search.trained or search.state is not SearchState.RUNNING or not is_driven(search):
        return None
    each = search.trial_seconds / search.trained
    return max(0, total - search.evaluated) * each / (workers_of(search) or 1)


def budgets_of(search: SearchRecord) -> list[tuple[str, float, str]]:
    """Limits that end the search early: what is limited, the part that is used, and both in words."""
    stop = _section(search, "stop")
    found: list[tuple[str, float, str]] = []
    hours = stop.get("gpu_hours")
    if isinstance(hours, int | float) and hours > 0:
        used = search.gpu_seconds / HOUR
        found.append(("GPU-hours", used / hours, f"{used:.2f} of {hours:g}"))
    most = _whole(stop.get("evaluations"))
    if most:
        found.append(("trainings", search.trained / most, f"{search.trained} of {most}"))
    return found


def cost_of(search: SearchRecord) -> str:
    """What it took, in GPU-hours where there was a GPU."""
    if search.gpu_seconds:
        return f"{search.gpu_seconds / HOUR:.2f} GPU-h"
    return f"{duration(search.trial_seconds)} CPU" if search.trial_seconds else "nothing yet"


def state_words(search: SearchRecord) -> str:
    """The state as a person would put it, with what was asked and has not happened yet."""
    if search.request is Request.CANCEL and not search.state.is_over:
        return "cancelling"
    if search.request is Request.PAUSE and search.state is SearchState.RUNNING:
        return "pausing"
    if search.managed and search.state in (SearchState.CREATED, SearchState.INTERRUPTED):
        return "paused" if search.request is Request.PAUSE else "queued"
    if search.state in (SearchState.RUNNING, SearchState.PAUSED) and not is_driven(search):
        return "waiting" if search.managed else "stalled"
    return search.state.value


def what_of(search: SearchRecord) -> str:
    """What is trained on which data."""
    model = model_label(search.document) or search.objective
    data = search.options.get("data") or search.document.get("data")
    return f"{model} on {_short(str(data))}" if data else str(model)


def _short(data: str) -> str:
    """What a data set is called: its id, or of a path the folder, or the file where that says more."""
    path = PurePath(data)
    if path.suffix not in (".yaml", ".yml"):
        return path.name or data
    plain = path.stem in ("data", "dataset") and path.parent.name
    return path.parent.name if plain else path.stem


def owns(principal: Principal, search: SearchRecord) -> bool:
    """Whether somebody may change a search: an admin, or whoever submitted it."""
    mine = principal.may("submit") and search.submitted_by == principal.key_id
    return principal.may("admin") or mine


def can_resume(search: SearchRecord) -> bool:
    """Whether `resume` would change anything."""
    if search.state.is_over:
        return False
    return search.request is not None or search.state in (SearchState.PAUSED, SearchState.FAILED)


def can_pause(search: SearchRecord) -> bool:
    """Whether `pause` would change anything."""
    open_states = (SearchState.CREATED, SearchState.RUNNING, SearchState.INTERRUPTED)
    return search.request is None and search.state in open_states


def split_gain(fitness: float | None, default: float | None) -> tuple[str, str]:
    """The gain over the default, and apart from it what it is in percent."""
    words, _, share = gain_text(fitness, default).partition(" ")
    beside = f"default {number(default)}"
    return words, f"{share.strip('()')}, {beside}" if share else beside


def _section(search: SearchRecord, name: str) -> Mapping[str, Any]:
    section: Json = search.document.get(name)
    return section if isinstance(section, dict) else {}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
