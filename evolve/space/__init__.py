"""Search spaces: which hyperparameters may change, and how."""

from evolve.space.document import SearchSpace
from evolve.space.expression import Constraint
from evolve.space.genes import BooleanGene, CategoricalGene, FloatGene, Gene, IntGene
from evolve.space.known import Known
from evolve.space.loading import load_space, override, shipped_spaces
from evolve.space.settings import FinalsSettings, RepeatSettings, RungSettings, SearchSettings, StopSettings

__all__ = [
    "BooleanGene",
    "CategoricalGene",
    "Constraint",
    "FinalsSettings",
    "FloatGene",
    "Gene",
    "IntGene",
    "Known",
    "RepeatSettings",
    "RungSettings",
    "SearchSettings",
    "SearchSpace",
    "StopSettings",
    "load_space",
    "override",
    "shipped_spaces",
]
