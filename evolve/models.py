"""The model as a gene: which one an individual trains.

A gene called `model` decides it, as any gene wins over a plain setting of its name; the `model` of the document is
what holds where there is no such gene, or where its condition fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evolve.trial import Json

if TYPE_CHECKING:
    from evolve.ledger.records import SearchRecord
    from evolve.space import SearchSpace

MODEL = "model"
"""Name of the gene, and of the key of the document."""


def model_of(default: str, params: Mapping[str, Json]) -> str:
    """The model of an individual with these genes; `default` is that of the document."""
    chosen = params.get(MODEL)
    return chosen if isinstance(chosen, str) else default


def models_of(space: SearchSpace) -> tuple[str, ...]:
    """All models that individuals of a space may have, in the order of the gene's choices."""
    gene = space.genes.get(MODEL)
    if gene is None:
        return (space.model,)
    options = tuple(str(choice) for choice in getattr(gene, "options", ()))
    return tuple(dict.fromkeys((*options, *([space.model] if gene.when else []))))


def weights_begun_with(search: SearchRecord) -> dict[str, str]:
    """The first weights of each model, as the driver found them; empty where no gene decides the model."""
    found = search.options.get("weights_of")
    return {model: str(weights) for model, weights in found.items()} if isinstance(found, dict) else {}


def model_label(document: Mapping[str, Json]) -> str:
    """The model, or the models, of a search's document in words."""
    genes = document.get("genes")
    gene = genes.get(MODEL) if isinstance(genes, dict) else None
    choices = gene.get("choices") if isinstance(gene, dict) else None
    if isinstance(choices, list):
        return " or ".join(str(choice) for choice in choices)
    return str(document.get(MODEL) or "")
