"""The answer of a search as the ledger keeps it (`searches.answer`), and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from evolve.formatting import count, number, with_share
from evolve.trial import Json

LUCK = "one training each cannot tell gain from luck; `finals: {top: 3, seeds: 3}` would"
SINGLE = "search"
"""The `source` of an answer that rests on the trainings of the search, one for each configuration."""


@dataclass(frozen=True)
class Sample:
    """What several trainings of a configuration came to.

    Attributes:
        mean: Mean fitness.
        sd: Standard deviation over the seeds; None of a single training.
        n: How many trainings.
    """

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Gain:
    """How far a configuration lies above the default.

    Attributes:
        value: Difference of the means.
        margin: Half of its 95 % interval; None where too few trainings leave it unknown.
        paired: Whether it was taken seed by seed.
    """

    value: float
    margin: float | None
    paired: bool = False

    @property
    def within_noise(self) -> bool:
        """Whether the difference may be luck: the interval includes 0, or there is none."""
        return self.margin is None or abs(self.value) <= self.margin

    @property
    def is_sure(self) -> bool:
        """Whether it is better than the default, and not by luck."""
        return self.value > 0 and not self.within_noise

    def __str__(self) -> str:
        return f"{self.value:+.4f}" + ("" if self.margin is None else f" ± {self.margin:.4f}")


@dataclass(frozen=True)
class Contender:
    """A configuration that the answer compares with the others.

    Attributes:
        original: The individual of the search that has it; 0 is the default.
        individual: Its best training, whose weights are to be had.
        seeds: Of the trainings that count.
        validation: Those trainings on the validation split; None if all of them failed.
        test: The same on the test split, as far as they were scored on it.
        gain: Over the default on the validation split; None for the default itself.
        test_gain: Over the default on the test split.
        selected: What it had in the trainings that it was chosen for, which therefore flatter it and do not count.
        failed: Trainings that failed.
    """

    original: int
    individual: int
    seeds: tuple[int, ...]
    validation: Sample | None
    test: Sample | None = None
    gain: Gain | None = None
    test_gain: Gain | None = None
    selected: Sample | None = None
    failed: int = 0

    @property
    def mean(self) -> float | None:
        """Mean fitness on the validation split."""
        return None if self.validation is None else self.validation.mean


@dataclass(frozen=True)
class Answer:
    """What a search has to say for itself.

    Attributes:
        source: What it rests on: `finals`, `repeats`, or `search` for one training each.
        winner: `original` of the contender with the highest mean.
        noise: Standard deviation of a seed on the validation split, over all contenders; None if unknown.
        test_noise: The same on the test split.
        contenders: The best first.
        fresh: Whether the contenders' trainings had no part in choosing them.
        looks: Of how many configurations the winner is the best by these trainings; its interval allows for that.
    """

    source: str
    winner: int
    noise: float | None
    test_noise: float | None
    contenders: tuple[Contender, ...]
    fresh: bool = True
    looks: int = 1

    @property
    def best(self) -> Contender:
        """The winner."""
        return next(each for each in self.contenders if each.original == self.winner)

    @property
    def default(self) -> Contender | None:
        """The default configuration, if it was ever trained."""
        return next((each for each in self.contenders if each.original == 0), None)

    def document(self) -> dict[str, Json]:
        """As JSON values, with what follows from the others for those who read nothing else."""
        gain = self.best.gain
        document = cast("dict[str, Json]", asdict(self))
        for each, shown in zip(self.contenders, cast("list[dict[str, Json]]", document["contenders"]), strict=True):
            shown["seeds"] = list(each.seeds)
        return document | {
            "contenders": list(cast("tuple[Json, ...]", document["contenders"])),
            "within_noise": None if gain is None else gain.within_noise,
            "text": sentence(self),
        }

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Answer:
        """The inverse of `document`; what another version has added is passed over."""
        contenders = tuple(_contender(each) for each in document["contenders"])
        return cls(
            source=document["source"],
            winner=document["winner"],
            noise=document.get("noise"),
            test_noise=document.get("test_noise"),
            contenders=contenders,
            fresh=document.get("fresh", True),
            looks=document.get("looks", 1),
        )


def answer_in(document: Mapping[str, Any] | None) -> Answer | None:
    """The answer in `searches.answer`; None where there is none, or one of another version that cannot be read."""
    try:
        return None if document is None else Answer.read(document)
    except (KeyError, TypeError):
        return None


def sentence(answer: Answer) -> str:
    """The answer in one honest sentence."""
    best, default = answer.best, answer.default
    if default is None or default.validation is None:
        return "the default configuration has no result, so there is no gain to state"
    if best.original == 0:
        return _defended(answer)
    if best.gain is None or best.validation is None:
        return "no configuration has a result"
    gain = best.gain
    found = f"{with_share(str(gain), gain.value, default.validation.mean)} over the default configuration"
    if max(best.validation.n, default.validation.n) == 1:
        return f"{found}; {LUCK}"
    doubt = ", within noise" if gain.within_noise else ""
    chosen = [] if answer.fresh else [f"chosen among {answer.looks} by this very training, which flatters it"]
    return "; ".join([f"{found}{doubt} ({_seeds(best, default)})", *chosen, *_noise(answer), *_on_test(best)])


def _defended(answer: Answer) -> str:
    closest = next((each for each in answer.contenders if each.gain is not None), None)
    if closest is None or closest.gain is None or closest.validation is None:
        return "no individual beat the default configuration"
    how = f"the closest: {closest.gain}, {count(closest.validation.n, 'seed')}"
    return "; ".join([f"no configuration beat the default one ({how})", *_noise(answer)])


def _seeds(best: Contender, default: Contender) -> str:
    ours = best.validation.n if best.validation else 0
    theirs = default.validation.n if default.validation else 0
    return f"{count(ours, 'seed')} each" if ours == theirs else f"{count(ours, 'seed')}, the default {theirs}"


def _noise(answer: Answer) -> list[str]:
    return [] if answer.noise is None else [f"noise of a seed {number(answer.noise)}"]


def _on_test(best: Contender) -> list[str]:
    if best.test_gain is None:
        return []
    doubt = ", within noise" if best.test_gain.within_noise else ""
    return [f"on the test split {best.test_gain}{doubt}"]


def sample_text(sample: Sample | None) -> str:
    """`0.4210 ± 0.0060`, or a dash."""
    if sample is None:
        return number(None)
    return number(sample.mean) + ("" if sample.sd is None else f" ± {sample.sd:.4f}")


def name_of(contender: Contender) -> str:
    """A configuration in a table: by the individual of the search that has it."""
    return "default" if contender.original == 0 else f"#{contender.original}"


def _contender(document: Mapping[str, Any]) -> Contender:
    return Contender(
        original=document["original"],
        individual=document["individual"],
        seeds=tuple(document["seeds"]),
        validation=_sample(document["validation"]),
        test=_sample(document.get("test")),
        gain=_gain(document.get("gain")),
        test_gain=_gain(document.get("test_gain")),
        selected=_sample(document.get("selected")),
        failed=document.get("failed", 0),
    )


def _sample(document: Mapping[str, Any] | None) -> Sample | None:
    return None if document is None else Sample(document["mean"], document["sd"], document["n"])


def _gain(document: Mapping[str, Any] | None) -> Gain | None:
    return None if document is None else Gain(document["value"], document["margin"], document.get("paired", False))
