"""The genetic algorithm as a search algorithm of Ray Tune.

    >>> tuner = tune.Tuner(train, param_space={"lr": tune.loguniform(1e-5, 1e-1)}, tune_config=tune.TuneConfig(
    ...     metric="loss", mode="min", num_samples=100, search_alg=EvolveSearch(seed=0)))

What it keeps is the history: proposals, and verdicts in the order in which they came. It is saved as JSON, and a
restored search replays it, as a resumed search of our own does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from ray.tune.result import DEFAULT_METRIC, TIME_TOTAL_S
from ray.tune.search import Searcher

from evolve.codec import Codec
from evolve.exceptions import InputError
from evolve.integrations.axes import OPERATORS, check_settings
from evolve.integrations.ray_space import Problem, RayProblem, domains_in, problem_of
from evolve.search.base import Outcome, Proposal, SearchAlgorithm
from evolve.search.genetic import GeneticSearch
from evolve.search.optuna_search import OptunaSearch
from evolve.space import SearchSpace
from evolve.trial import FailureKind, Json

_GIVEN = ("given",)
_SETTINGS = (*OPERATORS, "elites", "min_diversity", "generational", "algorithm", "screening", "objective")


class EvolveSearch(Searcher):  # type: ignore[misc]  # Ray ships no types that are looked at here
    """Breeds the configurations of trials.

    Args:
        space: A search space of ours (itself, its document, the path of its file or a shipped name), whose
            configurations are its `train` settings with the values of the genes; or one of Ray Tune's; None for
            the `param_space` of the tuner.
        metric: Name of the result that is judged; None for that of the tuner, which tells it with a `param_space`
            only.
        mode: `min` or `max`; None for that of the tuner, likewise.
        seed: Equal seeds give equal searches, as far as trials end in the same order.
        points_to_evaluate: Configurations to begin with, in the place of the default one.
        search: Settings of the genetic algorithm by their names in a search space, e.g. `population=16`.

    Raises:
        InputError: if the space, a setting or a point breaks a rule.
    """

    CKPT_FILE_TMPL = "searcher-state-{}.json"

    def __init__(
        self,
        space: SearchSpace | str | Path | Mapping[str, Any] | None = None,
        *,
        metric: str | None = None,
        mode: str | None = None,
        seed: int | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] = (),
        **search: Json,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._metric: str | None = metric
        self._mode: str | None = mode
        check_settings(search, _SETTINGS)
        self._settings = search if seed is None else {**search, "seed": seed}
        self._points = list(points_to_evaluate)
        self._problem: Problem | None = None
        self._proposals: list[Proposal] = []
        self._outcomes: list[Outcome] = []
        self._live: dict[str, Proposal] = {}
        self._saved: dict[str, Any] | None = None
        if space is not None:
            self._set_up(problem_of(space, self._settings))

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take over what the tuner was told; True if all of it could be used."""
        self._metric = metric or self._metric
        self._mode = mode or self._mode
        domains = domains_in(config)
        if self._problem is not None:
            return not domains
        if not domains:
            raise InputError(
                "EvolveSearch: param_space holds nothing to search in; give it a domain, or a space here"
            )
        self._set_up(RayProblem(domains, self._settings))
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """A configuration; None while a generational search awaits verdicts."""
        if self._problem is None:
            raise InputError(
                "EvolveSearch: a space is needed, as its first argument or as param_space of the tuner"
            )
        if self._mode is None:
            raise InputError(
                "EvolveSearch: needs metric= and mode=; without a param_space Ray Tune passes on neither"
            )
        waiting = self._points_waiting()
        proposals = waiting[:1] or self._algorithm.ask(1)
        if not proposals:
            return None
        self._live[trial_id] = proposals[0]
        if not waiting:
            self._proposals.append(proposals[0])
        return self._problem.configuration(proposals[0].params)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Only the last result of a trial is judged."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Learn what came of a trial."""
        proposal = self._live.pop(trial_id, None)
        if proposal is None:
            return
        fitness, failure = self._judge(result or {}, error)
        seconds = float((result or {}).get(TIME_TOTAL_S, 0.0))
        self._outcomes.append(Outcome(proposal, fitness, failure, seconds=seconds))
        self._algorithm.tell(self._outcomes[-1])

    def save(self, checkpoint_path: str) -> None:
        """Write the history as JSON."""
        Path(checkpoint_path).write_text(json.dumps(self._history()), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Continue from a history; if the space is still to come, as soon as it is known.

        Raises:
            InputError: if it is that of another space.
        """
        self._saved = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        if self._problem is not None:
            self._set_up(self._problem)

    def __getstate__(self) -> dict[str, Any]:
        """Ray copies searchers between processes; the history is all that the algorithm needs."""
        state = {name: value for name, value in self.__dict__.items() if name not in _REBUILT}
        return {**state, "_saved": self._history()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._problem is not None:
            self._set_up(self._problem)

    def _set_up(self, problem: Problem) -> None:
        self._problem = problem
        self._codec = Codec(problem.space)
        algorithm = problem.space.search.algorithm
        self._algorithm: SearchAlgorithm = (
            GeneticSearch(problem.space) if algorithm == "genetic" else OptunaSearch(problem.space)
        )
        self._proposals, self._outcomes, self._live = self._given(problem), [], {}
        if self._saved is not None:
            self._take_over(self._saved, problem.space)
            self._saved = None
        self._algorithm.replay(self._proposals, self._outcomes)

    def _given(self, problem: Problem) -> list[Proposal]:
        """The first individuals, which were given as points."""
        given = []
        for number, point in enumerate(self._points):
            params = problem.params(point)
            if problems := problem.space.check(params):
                raise InputError(f"EvolveSearch: points_to_evaluate[{number}]: {problems[0]}")
            given.append(
                Proposal(
                    number=number,
                    generation=number // problem.space.search.population,
                    genome=self._codec.encode(params),
                    params=params,
                    key=self._codec.key(params),
                    operators=_GIVEN,
                    origins=dict.fromkeys(params, "given"),
                )
            )
        return given

    def _points_waiting(self) -> list[Proposal]:
        """Given individuals that have not begun; they have the first numbers."""
        given = list(takewhile(lambda each: each.operators == _GIVEN, self._proposals))
        begun = {each.number for each in self._live.values()}
        begun.update(each.proposal.number for each in self._outcomes if given)
        return [each for each in given if each.number not in begun]

    def _judge(self, result: Mapping[str, Any], error: bool) -> tuple[float | None, FailureKind | None]:
        value = result.get(self._metric or DEFAULT_METRIC)
        if error or value is None:
            return None, FailureKind.CODE
        if not math.isfinite(float(value)):
            return None, FailureKind.DIVERGED
        return float(value) if self._mode == "max" else -float(value), None

    def _history(self) -> dict[str, Any]:
        if self._problem is None:
            return self._saved or {}
        return {
            "genes": self._problem.space.document()["genes"],
            "proposals": [{name: getattr(each, name) for name in _FIELDS} for each in self._proposals],
            "outcomes": [
                [each.proposal.number, each.fitness, each.failure, each.seconds] for each in self._outcomes
            ],
            "live": {trial: each.number for trial, each in self._live.items()},
        }

    def _take_over(self, history: Mapping[str, Any], space: SearchSpace) -> None:
        if not history:
            return
        if history["genes"] != space.document()["genes"]:
            raise InputError("EvolveSearch: what is to be restored is the history of another search space")
        known = [_proposal(each) for each in history["proposals"]]
        by_number = {each.number: each for each in known}
        self._proposals = known
        self._outcomes = [
            Outcome(by_number[number], fitness, failure and FailureKind(failure), seconds=seconds)
            for number, fitness, failure, seconds in history["outcomes"]
        ]
        self._live = {trial: by_number[number] for trial, number in history["live"].items()}


_REBUILT = ("_algorithm", "_codec", "_proposals", "_outcomes", "_live")
_FIELDS = ("number", "generation", "genome", "params", "key", "parents", "operators", "origins")


def _proposal(record: Mapping[str, Any]) -> Proposal:
    tuples = {name: tuple(record[name]) for name in ("genome", "parents", "operators")}
    return Proposal(**{**record, **tuples})
