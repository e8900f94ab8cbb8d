"""Runs trials on Ray: warm actors, epoch reports as they happen, and every death turned into a typed failure."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray

from evolve.dispatch import Completed, Failed, Reported, Started, Stopped, TrialEvent
from evolve.trial import EpochReport, Failure, FailureKind, TrialResult, TrialSpec
from workers.ray_actor import TrialActor
from workers.ray_cluster import RayCluster
from workers.ray_receive import receive, receive_next
from workers.ray_staff import Staff, Worker
from workers.shares import Share

WATCH_SECONDS = 1.0
FIRST_REPORT_SECONDS = 3600.0
SHORTEST_HANG_SECONDS = 120.0
EPOCHS_OF_SILENCE = 10
HARMLESS = (FailureKind.DIVERGED, FailureKind.DATA)


@dataclass(eq=False)
class _Run:
    """A trial on its worker.

    `source` is what Ray is asked to wait for: the `stream` of reports, or the end of its task once that is
    cancelled. `deadline` is when silence counts as a hang, or a stop as refused.
    """

    trial_id: str
    worker: Worker
    stream: Any
    source: Any
    last_news: float
    deadline: float
    longest_epoch: float = 0.0
    stopping: bool = False


class RayDispatcher:
    """Keeps up to `workers` warm actors, each with one trial at a time; see `evolve.dispatch.Dispatcher`.

    A worker is replaced when a failure may have harmed it, and after `recycle_after` trials. Its successor
    starts while the last trial still runs if the cluster has room for both, else as soon as there is room.

    Args:
        objective: A name for `workers.objectives.resolve_objective`.
        workers: Trials at once, at least 1.
        gpus_per_trial: GPUs of a trial; a fraction lets trials share a GPU.
        cpus_per_trial: Cores of a trial; None shares a local Ray's equally, and takes 1 on a cluster.
        address: `host:port` of a running Ray cluster; None starts a local one, which ends with `close`.
        cluster: A connection that exists already, instead of `address`.
        closes_cluster: Whether `close` ends that connection too.
        hang_timeout: Seconds without a report after which a trial is killed. None allows an hour before the
            first report, and then ten times the longest epoch so far, at least two minutes.
        recycle_after: Trials of a worker's life, at least 1.
        stop_grace: Seconds that a stopped trial has to end its epoch before its worker is killed.

    Raises:
        InputError: if the cluster cannot be reached or has no room for what is asked.
        EvolveError: if the local Ray does not start.
    """

    def __init__(
        self,
        objective: str,
        *,
        workers: int,
        gpus_per_trial: float = 0,
        cpus_per_trial: float | None = None,
        address: str | None = None,
        cluster: RayCluster | None = None,
        closes_cluster: bool = False,
        hang_timeout: float | None = None,
        recycle_after: int = 50,
        stop_grace: float = 30.0,
    ) -> None:
        self._hang_timeout = hang_timeout
        self._stop_grace = stop_grace
        self._cluster = cluster or RayCluster(address)
        self._owns_cluster = cluster is None or closes_cluster
        self._queue: dict[str, TrialSpec] = {}
        self._running: dict[str, _Run] = {}
        self._sources: dict[Any, _Run] = {}
        self._news: list[TrialEvent] = []
        self._next_watch = 0.0
        self._closed = False
        try:
            cpus = self._cluster.cpus_of_an_equal_share(workers) if cpus_per_trial is None else cpus_per_trial
            share = Share(cpus, gpus_per_trial)
            self._cluster.require(share, workers)
        except BaseException:
            self._leave_cluster()
            raise
        actors = ray.remote(TrialActor).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0, max_task_retries=0
        )
        make = partial(actors.remote, objective, tuple(sys.path), os.getcwd())
        self._staff = Staff(make, workers, recycle_after)

    @property
    def slots(self) -> int:
        """How many trials can run at once."""
        return self._staff.size

    def resize(self, slots: int) -> None:
        """Run so many trials at once from now on; see `Dispatcher.resize`."""
        self._staff.resize(slots)
        self._assign()

    def submit(self, spec: TrialSpec) -> None:
        """Queue a trial; see `Dispatcher.submit`."""
        self._queue[spec.trial_id] = spec
        self._assign()

    def stop(self, trial_id: str) -> None:
        """Stop a trial; see `Dispatcher.stop`. Its worker stays warm if the epoch ends in `stop_grace` seconds."""
        if self._queue.pop(trial_id, None) is not None:
            self._news.append(Stopped(trial_id))
            return
        run = self._running.get(trial_id)
        if run is not None and not run.stopping:
            run.stopping = True
            run.deadline = time.monotonic() + self._stop_grace
            ray.cancel(run.stream)
            # Reading a cancelled stream blocks until its task is over; see `_take`.
            del self._sources[run.source]
            run.source = run.stream.completed()
            self._sources[run.source] = run

    def events(self, timeout: float) -> list[TrialEvent]:
        """Wait for news; see `Dispatcher.events`.

        Raises:
            PoolUnavailable: the cluster is gone, and with it all trials.
        """
        end = time.monotonic() + timeout
        self._poll(0.0)
        while not self._news and (left := end - time.monotonic()) > 0:
            self._poll(min(left, WATCH_SECONDS))
        news, self._news = self._news, []
        return news

    def close(self) -> None:
        """Kill every worker at once and, if it is ours, end Ray; see `Dispatcher.close`."""
        if self._closed:
            return
        self._closed = True
        self._staff.close()
        for held in (self._queue, self._running, self._sources, self._news):
            held.clear()
        self._leave_cluster()

    def _leave_cluster(self) -> None:
        if self._owns_cluster:
            self._cluster.close()

    def _assign(self) -> None:
        while self._queue and len(self._running) < self._staff.size and (worker := self._staff.take()):
            self._begin(worker, self._queue.pop(next(iter(self._queue))))
        # A worker that could not start has no successor before there is a trial that would hear of it.
        self._staff.fill(len(self._queue) + len(self._running))

    def _begin(self, worker: Worker, spec: TrialSpec) -> None:
        now = time.monotonic()
        patience = FIRST_REPORT_SECONDS if self._hang_timeout is None else self._hang_timeout
        stream = worker.actor.run.options(num_returns="streaming").remote(spec)
        run = _Run(spec.trial_id, worker, stream, stream, last_news=now, deadline=now + patience)
        self._sources[stream] = self._running[run.trial_id] = run
        self._news.append(Started(spec.trial_id, worker.name))
        self._staff.begin(worker)

    def _poll(self, timeout: float) -> None:
        """Take what is ready, waiting up to `timeout` seconds for the first; look for hangs; assign."""
        if awaited := [*self._staff.greetings, *self._sources]:
            ready, rest = ray.wait(awaited, num_returns=1, timeout=timeout, fetch_local=False)
            if ready and rest:
                ready += ray.wait(rest, num_returns=len(rest), timeout=0, fetch_local=False)[0]
            for source in ready:
                self._take(source)
        else:
            time.sleep(timeout)
        now = time.monotonic()
        if now >= self._next_watch:
            self._next_watch = now + WATCH_SECONDS
            self._watch(now)
        self._assign()

    def _take(self, source: Any) -> None:
        if source in self._staff.greetings:
            self._welcome(source, receive(source))
            return
        run = self._sources[source]
        self._advance(run, receive_next(run.stream))
        while run.stopping and run.trial_id in self._running:  # its task is over: take all that is left
            self._advance(run, receive_next(run.stream))

    def _welcome(self, greeting: Any, answer: str | Failure) -> None:
        slot_is_empty = self._staff.welcome(greeting, answer)
        if slot_is_empty and self._queue and isinstance(answer, Failure):
            trial_id = next(iter(self._queue))
            del self._queue[trial_id]
            self._news.append(Failed(trial_id, answer))

    def _advance(self, run: _Run, item: EpochReport | TrialResult | Failure | None) -> None:
        match item:
            case EpochReport():
                self._report(run, item)
            case TrialResult():
                self._finish(run, Completed(run.trial_id, item))
            case None if run.stopping:
                self._finish(run, Stopped(run.trial_id))
            case None:
                cancelled = Failure(FailureKind.INFRASTRUCTURE, "the trial was cancelled from outside")
                self._finish(run, Failed(run.trial_id, cancelled), harmed=True)
            case Failure(FailureKind.INFRASTRUCTURE) if run.stopping:
                self._finish(run, Stopped(run.trial_id), harmed=True)
            case Failure():
                self._finish(run, Failed(run.trial_id, item), harmed=item.kind not in HARMLESS)

    def _report(self, run: _Run, report: EpochReport) -> None:
        now = time.monotonic()
        run.longest_epoch = max(run.longest_epoch, now - run.last_news)
        run.last_news = now
        if not run.stopping:
            usual = max(SHORTEST_HANG_SECONDS, EPOCHS_OF_SILENCE * run.longest_epoch)
            run.deadline = now + (usual if self._hang_timeout is None else self._hang_timeout)
        self._news.append(Reported(run.trial_id, report))

    def _watch(self, now: float) -> None:
        self._cluster.check()
        overdue = [run for run in self._running.values() if run.deadline < now]
        for run in overdue:
            silence = f"no report for {now - run.last_news:.0f} s; its worker {run.worker.name} was killed"
            hang = Failed(run.trial_id, Failure(FailureKind.HANG, silence))
            self._finish(run, Stopped(run.trial_id) if run.stopping else hang, harmed=True)

    def _finish(self, run: _Run, event: Completed | Stopped | Failed, *, harmed: bool = False) -> None:
        self._news.append(event)
        del self._sources[run.source]
        del self._running[run.trial_id]
        self._staff.release(run.worker, harmed=harmed)
