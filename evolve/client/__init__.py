"""The service from Python.

::

    from evolve.client import Client

    with Client("http://127.0.0.1:8000", key="evk_...") as client:
        search = client.submit("demo", data="demo", name="first try")
        search = client.wait(search.id)
        print(search.best_fitness, client.best(search.id).arguments)
        client.weights(search.id, "best.pt")

What goes wrong is an `EvolveError` of one line. Requests that may be repeated are, for some seconds; a submission
is one of them, as it carries a key of its own by which the service knows it again.
"""

from evolve.client.admin import Dataset, Key, Space, Webhook, WebhookTest
from evolve.client.client import Client
from evolve.client.reading import Page
from evolve.client.records import (
    Ancestor,
    Attempt,
    Best,
    Birth,
    CheckedSubmission,
    ComparedBest,
    ComparedSearch,
    Comparison,
    Epoch,
    Event,
    Generation,
    Individual,
    IndividualDetail,
    Search,
    SearchDetail,
)

__all__ = [
    "Ancestor",
    "Attempt",
    "Best",
    "Birth",
    "CheckedSubmission",
    "Client",
    "ComparedBest",
    "ComparedSearch",
    "Comparison",
    "Dataset",
    "Epoch",
    "Event",
    "Generation",
    "Individual",
    "IndividualDetail",
    "Key",
    "Page",
    "Search",
    "SearchDetail",
    "Space",
    "Webhook",
    "WebhookTest",
]
