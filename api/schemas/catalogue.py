"""Spaces, data sets and keys, as they go out."""

from __future__ import annotations

from typing import Any

from api.schemas.basics import Answer


class CheckedSubmission(Answer):
    """A submission that could be run.

    Attributes:
        name: What the search would be called.
        individuals: How many it would train at most.
        genes: How many genes there are.
        notes: What to know before it is submitted.
        document: The search space with everything filled in.
    """

    name: str
    individuals: int
    genes: int
    notes: list[str]
    document: dict[str, Any]


class SpaceSummary(Answer):
    """A search space that is shipped.

    Attributes:
        name: What a submission calls it.
        model: The model that it trains, or all that a gene may choose.
        genes: How many genes it has.
        population: Individuals of a generation.
        generations: Generations at most.
        individuals: Both multiplied.
    """

    name: str
    model: str
    genes: int
    population: int
    generations: int
    individuals: int


class DatasetSummary(Answer):
    """A data set that submissions may name.

    Attributes:
        id: What they call it.
        built_in: Whether it comes with the product.
        path: Where it is; shown to admins only.
        content_hash: Digest of pictures, labels and names.
        names: Class names.
        images: Pictures of each split.
        boxes: Boxes of each split.
        warnings: What is odd about it.
        registered_by: Id of the key that registered it.
        created_at: When that was.
    """

    id: str
    built_in: bool
    path: str | None
    content_hash: str
    names: list[str]
    images: dict[str, int]
    boxes: dict[str, int]
    warnings: list[str]
    registered_by: str | None
    created_at: float | None


class KeySummary(Answer):
    """An API key; nobody can see the key itself any more.

    Attributes:
        id: Names it.
        name: Who or what it is for.
        scopes: What it may do.
        created_at: When it was made.
        revoked_at: When it was revoked.
        last_used_at: When it was last used, to the minute.
    """

    id: str
    name: str
    scopes: list[str]
    created_at: float
    revoked_at: float | None
    last_used_at: float | None


class CreatedKey(KeySummary):
    """A key that was just made.

    Attributes:
        key: What to send as `Authorization: Bearer <key>`; shown only now.
    """

    key: str
