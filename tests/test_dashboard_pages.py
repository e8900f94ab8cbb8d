"""What pages of the dashboard do while they are open, without a browser."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from api.auth import LOCAL, Principal, make_key
from api.dashboard import live, session
from api.dashboard.components import block, text
from api.dashboard.following import Follower
from api.dashboard.pages import compare, downloads, individual, keys, submit
from api.dashboard.pages import search as search_pages
from api.dashboard.sections import View
from api.dashboard.sections.genes import milestone
from api.dashboard.sections.settings import Settings
from dashboard_helpers import Driver, enter, fail_with, fill
from dashboard_pages import opened, site_of, words
from evolve.exceptions import InputError, LedgerError
from evolve.ledger import Ledger, SearchRecord, SearchState
from sample_searches import sample_ledger, search_record
from test_api_paths import with_weights


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as found:
        yield found


@pytest.fixture
def site(ledger: Ledger, tmp_path: Path):
    with site_of(ledger, tmp_path) as found:
        yield found


def key_of(ledger: Ledger, scope: str) -> Principal:
    made, _ = make_key(scope, [scope])
    ledger.registry.add_key(**made)
    return Principal(made["key_id"], (scope,))


@pytest.mark.parametrize("signed_in", [True, False])
def test_an_open_page_shows_nothing_more_once_its_reader_is_shut_out(
    site, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, signed_in: bool
) -> None:
    monkeypatch.setattr(session, "REMEMBERED_SECONDS", 0)
    reader = key_of(ledger, "read") if signed_in else None

    async def look() -> None:
        refreshed = []

        async def refresh() -> None:
            refreshed.append(1)

        with opened(site, reader) as client:
            text("p", "a secret")
            follower = Follower(refresh, block())
            await follower.now()
            assert refreshed == [1]
            assert "a secret" in words(client)
            if reader is not None:
                ledger.registry.revoke_key(reader.key_id)
            key_of(ledger, "admin")
            site.service.doorkeeper.forget()
            await follower.now()
            assert refreshed == [1]
            assert words(client) == ""
            assert any("/login" in str(message) for message in client.outbox.messages)

    asyncio.run(look())


def test_an_admin_cannot_revoke_the_key_that_is_used(site, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async def yes(*_: object, **__: object) -> bool:
        return True

    monkeypatch.setattr(keys, "confirmed", yes)
    boss, other = key_of(ledger, "admin"), key_of(ledger, "admin")

    async def look() -> None:
        with opened(site, boss) as client:
            page = keys._Page(site, boss)
            await page.build()
            for each in (boss, other):
                await page._revoke(ledger.registry.key(each.key_id))
            assert any("must not be the one that asks" in str(message) for message in client.outbox.messages)

    asyncio.run(look())
    assert ledger.registry.key(boss.key_id).revoked_at is None
    assert ledger.registry.key(other.key_id).revoked_at is not None


def test_a_shared_answer_that_failed_is_asked_for_again(site) -> None:
    asked = []

    def answer() -> int:
        asked.append(1)
        if len(asked) == 1:
            raise LedgerError("the database is away")
        return 7

    async def look() -> None:
        for _ in range(3):
            with pytest.raises(LedgerError) if not asked else nullcontext():
                assert await site.shared("answer", 900, answer) == 7

    asyncio.run(look())
    assert len(asked) == 2


def test_what_takes_long_keeps_no_thread_from_the_pages(
    site, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: dict[str, str] = {}

    def noted(name: str, answer: object):
        def function(*_: object, **__: object) -> object:
            places[name] = threading.current_thread().name
            if isinstance(answer, Exception):
                raise answer
            return answer

        return function

    monkeypatch.setattr(downloads.views, "report", noted("report", ""))
    monkeypatch.setattr(downloads.service, "search", noted("search", search_record()))
    monkeypatch.setattr("evolve.tracking.links.comparison", noted("mlflow", "#"))
    refusal = InputError("no")
    monkeypatch.setattr(submit.service, "check_document", noted("check", refusal))

    async def look() -> None:
        with opened(site) as client:
            for read in (downloads.report, downloads.mlflow):
                await read(client.request, "bottles")
            form = submit._Form(site, [], "demo")
            await form.build()
            await site.shared_heavy("importance", 1.0, noted("importance", 1))

    asyncio.run(look())
    assert places["check"].startswith("api-judge")
    assert {places[each] for each in ("report", "mlflow", "importance")} == {"api-heavy"}


def test_a_click_again_after_a_lost_answer_enters_nothing_twice(
    site, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter, troubles = submit.service.enter_search, [LedgerError("gone"), InputError("no"), RuntimeError("bug")]

    def enter_and_fail(*args: object) -> object:
        if isinstance(troubles[0], LedgerError):
            enter(*args)
        raise troubles.pop(0)

    async def look() -> None:
        with opened(site, key_of(ledger, "submit")):
            form = submit._Form(site, [], "demo")
            await form.build()
            first = form._idempotency
            monkeypatch.setattr(submit.service, "enter_search", enter_and_fail)
            await form._enter()
            assert form._idempotency == first
            assert form._submit.enabled
            monkeypatch.setattr(submit.service, "enter_search", enter)
            await form._enter()
            monkeypatch.setattr(submit.service, "enter_search", enter_and_fail)
            await form._enter()
            assert form._idempotency != first
            with pytest.raises(RuntimeError):
                await form._enter()
            assert form._submit.enabled

    asyncio.run(look())
    assert len(ledger.searches()) == 1


def test_several_searches_are_compared_in_mlflow(site, ledger: Ledger, tmp_path: Path, monkeypatch) -> None:
    one, other = enter(ledger, tmp_path, "one"), enter(ledger, tmp_path, "other")
    asked: list[str] = []

    def comparison(_: str, *searches: SearchRecord) -> str:
        asked.extend(each.id for each in searches)
        return "#/compare-runs"

    monkeypatch.setattr("evolve.tracking.links.comparison", comparison)

    async def look() -> None:
        with opened(site) as client:
            answer = await downloads.compare_mlflow(client.request, f"{one.id},{other.id}")
            assert (answer.status_code, asked) == (303, [one.id, other.id])
            assert (await downloads.compare_mlflow(client.request, ",".join("abcdefghi"))).status_code == 422
            assert (await downloads.compare_mlflow(client.request, "00000000")).status_code == 404
            key_of(ledger, "admin")
            site.service.doorkeeper.forget()
            refused = await downloads.compare_mlflow(client.request, one.id)
            assert refused.headers["location"].startswith("/login?next=")

    asyncio.run(look())


def test_importance_is_looked_at_again_as_a_search_grows() -> None:
    for scored in range(4, 20_000, 7):
        reached = milestone(scored)
        assert reached <= scored < reached + max(4, 0.05 * reached + 1)
    assert [milestone(scored) for scored in (0, 3, 4, 7, 8, 100)] == [0, 0, 4, 4, 8, 100]


def test_a_part_that_could_not_be_shown_is_shown_when_it_can(
    site, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = fill(ledger, tmp_path, "bottles", 6)
    times = ledger.trial_times

    def away(_: str) -> object:
        raise LedgerError("the database is away")

    monkeypatch.setattr(ledger, "trial_times", away)

    async def look() -> None:
        with opened(site) as client:
            page = search_pages._Page(View(site, LOCAL, record.id), "workers")
            await page.build(record)
            for _ in range(2):
                await page._follower.now()
                assert "the database is away" in words(client)
            ledger.trial_times = times
            await page._follower.now()
            assert "the database is away" not in words(client)
            assert page._section._use.props["rows"]

    asyncio.run(look())


def test_the_last_state_of_a_search_is_shown_though_it_came_too_soon(
    site, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FRESH_SECONDS", 0)
    search = enter(ledger, tmp_path, "bottles")
    driver = Driver(ledger, search, sample_ledger(6), epochs=1)
    lives = driver.lives()
    next(lives)

    def costs(page) -> str:
        return page._section._cost.props["rows"][0]["cells"][1]

    async def look() -> None:
        with opened(site):
            page = search_pages._Page(View(site, LOCAL, search.id), "workers")
            await page.build(search)
            await page._follower.now()
            assert costs(page) == "1"
            next(lives)
            driver.release(SearchState.COMPLETED)
            await page._follower.now()
            assert costs(page) == "1"
            monkeypatch.setattr("api.dashboard.sections.workers._SECONDS", 0)
            await page._follower.now()
            assert costs(page) == "2"

    asyncio.run(look())


def test_only_searches_that_changed_are_summed_up_again(
    site, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FRESH_SECONDS", 0)
    still = fill(ledger, tmp_path, "still", 6)
    grows = enter(ledger, tmp_path, "grows")
    lives = Driver(ledger, grows, sample_ledger(6), epochs=1).lives()
    next(lives)
    asked: list[tuple[str, str]] = []
    course = compare._course

    def noted(ledger: Ledger, snapshot: live.Snapshot) -> object:
        asked.append((snapshot.record.name, threading.current_thread().name))
        return course(ledger, snapshot)

    monkeypatch.setattr(compare, "_course", noted)

    async def look() -> None:
        with opened(site):
            page = compare._Page(site, [still.id, grows.id])
            await page.build()
            await page._refresh()
            next(lives)
            await page._refresh()

    asyncio.run(look())
    assert [name for name, _ in asked] == ["still", "grows", "grows"]
    assert all(thread.startswith("dashboard") for _, thread in asked)


def test_an_attempt_that_did_not_change_stays_as_the_reader_left_it(
    site, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "FRESH_SECONDS", 0)
    search = enter(ledger, tmp_path, "bottles")
    driver = Driver(ledger, search, sample_ledger(6), epochs=1)
    fail_with(driver, 0, "boom")
    lives = driver.lives(1)

    async def look() -> None:
        with opened(site):
            page = individual._Page(View(site, LOCAL, search.id), 0)
            await page.build(search)
            await page._refresh()
            before = list(page._attempts.descendants())
            assert any(each.tag == "details" for each in before)
            next(lives)
            await page._refresh()
            assert list(page._attempts.descendants()) == before

    asyncio.run(look())


def test_a_search_without_individuals_says_so(site, ledger: Ledger, tmp_path: Path) -> None:
    search = enter(ledger, tmp_path, "bottles")

    async def look() -> None:
        with opened(site):
            page = search_pages._Page(View(site, LOCAL, search.id), "population")
            await page.build(search)
            await page._follower.now()
            assert page._section._unborn.visible
            assert not page._section._nothing.visible

    asyncio.run(look())


def test_settings_name_the_data_set_and_not_where_it_lies(site, ledger: Ledger, tmp_path: Path) -> None:
    search = enter(ledger, tmp_path, "bottles", document={"data": "/secret/folder/data.yaml"})

    async def look() -> None:
        with opened(site, LOCAL) as client:
            section = Settings(View(site, LOCAL, search.id))
            section.build(site.searches.snapshot(search.id))
            assert "data: demo" in words(client)
            assert "/secret" not in words(client)

    asyncio.run(look())


def test_weights_arrive_whole_though_the_search_removes_them(site, ledger: Ledger, tmp_path: Path) -> None:
    search, got = enter(ledger, tmp_path, "bottles"), []
    (path,) = with_weights(ledger, search.id, "a.pt")

    async def receive() -> None:
        await asyncio.Event().wait()  # the reader stays

    async def send(message) -> None:
        got.append(message)

    async def look() -> None:
        with opened(site) as client:
            answer = await downloads.best_weights(client.request, search.id)
            path.unlink()
            await answer(client.request.scope, receive, send)

    asyncio.run(look())
    assert b"".join(each.get("body", b"") for each in got) == b"a.pt" * 100_000
    name = dict(got[0]["headers"])[b"content-disposition"].decode()
    assert name == f'attachment; filename="best-{search.id}.pt"'
