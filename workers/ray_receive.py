"""What an actor sent, or the failure that stands for its death."""

from __future__ import annotations

from typing import Any

import ray
from ray import exceptions as ray_errors

from evolve.trial import Failure, FailureKind


def receive(reference: Any) -> Any:
    """The value behind a ready reference; a `Failure` if there can be none, None if its task was cancelled."""
    try:
        return ray.get(reference)
    except ray_errors.TaskCancelledError:
        return None
    except ray_errors.OutOfMemoryError as error:
        message = "the node ran out of RAM and Ray killed the worker; lower --workers or what a trial caches"
        return Failure(FailureKind.OUT_OF_MEMORY, message, details=str(error))
    except ray_errors.RayTaskError as error:  # what the objective yielded cannot be sent
        return Failure(FailureKind.CODE, _last_line(error), details=str(error))
    except ray_errors.RayError as error:
        return Failure(FailureKind.INFRASTRUCTURE, f"the worker died: {_one_line(error)}", details=str(error))


def receive_next(stream: Any) -> Any:
    """The next value of a remote generator that is ready, as `receive` has it; None also at its end."""
    try:
        return receive(next(stream))
    except StopIteration:
        return None


def _last_line(error: Exception) -> str:
    return str(error).strip().rsplit("\n", 1)[-1][:300]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
