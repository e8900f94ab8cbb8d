"""The dashboard in a real browser, against a real server whose ledger goes on changing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from nicegui import Client

from api.auth import make_key
from api.dashboard import session
from api.limits import RateLimit
from dashboard_helpers import HOSTILE, Driver, enter, fail_with, fill
from dashboard_server import Served, browsing, serving
from evolve.ledger import Request, SearchRecord, SearchState
from sample_searches import sample_ledger

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
expect = playwright.expect
expect.set_options(timeout=20_000)
SECONDS = 20_000
REMEMBERED = 0.3
PHONE = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Served]]:
    """Two services: one with searches, one with nothing at all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "REMEMBERED_SECONDS", REMEMBERED)
        yield from _served(tmp_path_factory)


def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Served]]:
    homes = [tmp_path_factory.mktemp(name) for name in ("busy", "new")]
    with serving(*homes) as served:
        yield served


@pytest.fixture(scope="module")
def busy(services: list[Served]) -> Served:
    """The service with searches."""
    fill(services[0].ledger, services[0].home, "bottles", 40, seed=1)
    return services[0]


@pytest.fixture(scope="module")
def bottles(busy: Served) -> SearchRecord:
    """A search that is over."""
    return busy.ledger.search("bottles")


@pytest.fixture(scope="module")
def window():
    """One browser for all tests, so that it loads the scripts only once."""
    with browsing() as browser:
        context = browser.new_context(viewport=WIDE)
        context.set_default_timeout(SECONDS)
        yield context


@pytest.fixture
def page(window):
    """A page of its own, which must neither fail nor ask anybody but us for anything."""
    opened = window.new_page()
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    opened.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    opened.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))
            else troubles.append(f"asked {asked.url}")
        ),
    )
    yield opened
    opened.close()
    window.clear_cookies()
    assert troubles == []


def chart(page, label: str):
    """The options that the figure with this label shows."""
    figure = page.get_by_role("img", name=re.compile(label))
    figure.scroll_into_view_if_needed()
    page.wait_for_function("(element) => element.chart?.getOption()?.series?.length", arg=figure.element_handle())
    return figure, figure.evaluate("(element) => element.chart.getOption()")


def tile(page, label: str):
    """The value of a tile."""
    return page.locator(".ev-tile", has=page.locator("dt", has_text=label)).locator("dd").first


def fits(page) -> bool:
    """Whether nothing makes the page wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def mark_page(page) -> None:
    """Leave something that a reload would wipe away."""
    page.evaluate("window.notReloaded = true")


def is_same_page(page) -> bool:
    return page.evaluate("window.notReloaded === true")


def test_a_running_search_is_followed_without_a_reload(page, busy: Served) -> None:
    search = enter(busy.ledger, busy.home, "followed")
    driver = Driver(busy.ledger, search, sample_ledger(30, seed=4), epochs=6)
    members = driver.members()
    page.goto(f"{busy.url}/searches/{search.id}")
    expect(page.locator(".ev-title-row .ev-mark")).to_have_text("running")
    expect(page.get_by_text("No verdict yet")).to_be_visible()
    mark_page(page)

    driver.begin(members[0])
    running = page.get_by_role("region", name="Trials that run now")
    expect(running.get_by_role("link", name="#0")).to_be_visible()
    for epoch in (1, 2, 3):
        driver.report(members[0], epoch)
    expect(running).to_contain_text("3/6")
    expect(running.get_by_role("img", name="individual 0 after each epoch")).to_be_visible()

    driver.end(members[0])
    expect(tile(page, "Evaluated")).to_have_text("1 / 240")
    lives = iter(driver.lives(1))
    for _ in range(10):
        next(lives)
    expect(tile(page, "Evaluated")).to_have_text("11 / 240")
    best = busy.ledger.search(search.id)
    expect(tile(page, "Best mAP50-95")).to_have_text(f"{best.best_fitness:.4f}")
    _, options = chart(page, "mAP50-95 of every individual")
    names = [series["name"] for series in options["series"]]
    assert {"best", "mean", "spread", "best so far", "individuals"} <= set(names)
    scored = [each for each in busy.ledger.individuals(search.id) if each.fitness is not None]
    dots = options["series"][names.index("individuals")]["data"]
    assert len(dots) == len(scored)

    driver.release(SearchState.COMPLETED, "all generations are done")
    expect(page.locator(".ev-title-row .ev-mark")).to_have_text("completed")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    assert is_same_page(page)


def test_a_dot_opens_its_individual(page, busy: Served, bottles: SearchRecord) -> None:
    page.goto(f"{busy.url}/searches/{bottles.id}")
    figure, _ = chart(page, "of every individual")
    place = figure.evaluate(
        """(element) => {
            const series = element.chart.getOption().series.find((each) => each.id === "individuals");
            const best = series.data.find((each) => each.symbol === "diamond");
            const place = element.chart.convertToPixel({ seriesId: "individuals" }, best.value.slice(0, 2));
            return [...place, best.value[2]];
        }"""
    )
    assert place[2] == bottles.best_individual
    page.wait_for_timeout(400)  # the figure moves into its place
    figure.click(position={"x": place[0], "y": place[1]})
    page.wait_for_url(f"**/individuals/{bottles.best_individual}")
    expect(page.get_by_role("heading", name=f"Individual {bottles.best_individual}")).to_be_visible()
    expect(tile(page, "mAP50-95")).to_have_text(f"{bottles.best_fitness:.4f}")
    genome = page.get_by_role("region", name="Genome")
    expect(genome.get_by_role("row")).to_have_count(9)
    chart(page, "after each epoch")
    expect(page.get_by_role("region", name="Requested and effective arguments")).to_contain_text("imgsz")


def test_what_took_effect_otherwise_is_marked(page, busy: Served, bottles: SearchRecord) -> None:
    differing = next(each for each in busy.ledger.evaluations(bottles.id) if each.differences)
    page.goto(f"{busy.url}/searches/{bottles.id}/individuals/{differing.individual}")
    row = page.get_by_role("region", name="Requested and effective arguments").get_by_role("row").nth(1)
    expect(row).to_contain_text("weight_decay")
    expect(row).to_contain_text("0.00047")
    expect(row).to_contain_text("differs")


def test_the_parts_of_a_search(page, busy: Served, bottles: SearchRecord) -> None:
    page.goto(f"{busy.url}/searches/{bottles.id}")
    individuals = page.get_by_role("region", name="Individuals")
    expect(individuals.get_by_role("row")).to_have_count(26)
    expect(individuals.get_by_role("row").nth(1)).to_contain_text(f"#{bottles.best_individual}")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("26 to 40 of 40 individuals")).to_be_visible()

    page.get_by_role("tab", name="Genes").click()
    _, parallel = chart(page, "All genes and the fitness")
    assert len(parallel["parallelAxis"]) == 9
    chart(page, "Values of lr0 over the generations")
    expect(page.get_by_text(re.compile("fANOVA over 3[0-9] individuals"))).to_be_visible(timeout=60_000)
    _, importance = chart(page, "How much of the fitness")
    assert len(importance["series"][0]["data"]) == 8

    page.get_by_role("tab", name="Best and lineage").click()
    chart(page, "The best individual and its ancestors")
    page.get_by_role("tab", name="Workers and cost").click()
    _, workers = chart(page, "Which worker trained")
    assert len(workers["yAxis"][0]["data"]) == 4
    expect(tile(page, "GPU-hours")).to_have_text(f"{bottles.gpu_seconds / 3600:.2f}")
    page.get_by_role("tab", name="Settings").click()
    expect(page.locator("pre")).to_contain_text("nms_iou")
    page.wait_for_function("location.search === '?tab=settings'")


def test_a_search_is_submitted(page, busy: Served) -> None:
    pokes = busy.supervisor.pokes
    page.goto(f"{busy.url}/submit")
    submit = page.get_by_role("button", name="Submit", exact=True)
    expect(page.get_by_text("This can be submitted.")).to_be_visible()
    expect(page.get_by_role("region", name="Genes")).to_contain_text("elastic_beta")
    document = page.get_by_label("Search space (YAML)")
    document.fill("genes:\n  lr0: {type: float, low: 1, high: 0.1, default: 0.5}\ndata: demo\n")
    expect(page.get_by_role("alert")).to_contain_text("low < high must hold, but got low=1, high=0.1")
    expect(submit).to_be_disabled()

    page.get_by_role("combobox", name="Objective").click()
    page.get_by_role("option", name="synthetic").click()
    document.fill("genes:\n  lr0: {type: float, low: 0.01, high: 1, log: true, default: 0.5}\n")
    expect(page.get_by_text("This can be submitted.")).to_be_visible()
    page.get_by_label("Name").fill(HOSTILE)
    page.get_by_label("Trainings").fill("7")
    expect(page.get_by_text("it has no budget")).to_be_hidden()
    expect(submit).to_be_enabled()
    submit.click()
    page.wait_for_url(re.compile(r"/searches/[0-9a-f]{8}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.locator(".ev-title-row .ev-mark")).to_have_text("queued")
    record = busy.ledger.search(page.url.rsplit("/", 1)[1])
    assert record.name == HOSTILE
    assert record.document["stop"]["evaluations"] == 7
    assert record.objective == "synthetic"
    assert busy.supervisor.pokes == pokes + 1


def test_a_search_is_paused_and_cancelled(page, busy: Served) -> None:
    search = enter(busy.ledger, busy.home, "doomed")
    page.goto(f"{busy.url}/searches/{search.id}")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator(".ev-title-row .ev-mark")).to_have_text("paused")
    assert busy.ledger.search(search.id).request is Request.PAUSE
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".ev-title-row .ev-mark")).to_have_text("queued")
    assert busy.ledger.search(search.id).request is None

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Keep as it is").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert busy.ledger.search(search.id).request is None
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the search").click()
    expect(page.locator(".ev-title-row .ev-mark")).to_have_text("cancelling")
    assert busy.ledger.search(search.id).request is Request.CANCEL
    busy.ledger.acquire(search.id).release(SearchState.CANCELLED, "cancelled")
    expect(page.locator(".ev-title-row .ev-mark")).to_have_text("cancelled")

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    page.wait_for_url(f"{busy.url}/")
    assert "doomed" not in {each.name for each in busy.ledger.searches()}


def test_searches_are_found_and_compared(page, busy: Served, bottles: SearchRecord) -> None:
    other = fill(busy.ledger, busy.home, "helmets", 12, seed=2)
    page.goto(busy.url)
    mark_page(page)
    table = page.get_by_role("region", name="All searches", exact=True).last
    expect(table.get_by_role("link", name="helmets")).to_be_visible()
    compare = page.get_by_role("button", name="Compare")
    expect(compare).to_be_disabled()
    appeared = enter(busy.ledger, busy.home, "appeared")
    expect(table.get_by_role("link", name="appeared")).to_be_visible()
    busy.ledger.delete_search(appeared.id)
    expect(table.get_by_role("link", name="appeared")).to_have_count(0)
    page.get_by_label("Search by name or id").fill("nothing is called so")
    expect(page.get_by_text("No search matches")).to_be_visible()
    page.get_by_label("Search by name or id").fill("")
    for record in (bottles, other):
        page.get_by_role("checkbox", name=f"Choose {record.id}").check()
    assert is_same_page(page)
    compare.click()
    page.wait_for_url("**/compare?ids=*")
    _, options = chart(page, "over its evaluations")
    assert [series["name"] for series in options["series"]] == ["bottles", "helmets"]
    ends = [series["data"][-1] for series in options["series"]]
    assert ends == [[40, round(bottles.best_fitness, 5)], [12, round(other.best_fitness, 5)]]
    _, hours = chart(page, "over the hours")
    assert hours["series"][0]["data"][-1][0] == pytest.approx(bottles.gpu_seconds / 3600, rel=0.01)
    expect(page.get_by_role("region", name="Their best configurations").last).to_contain_text("momentum")


def test_what_others_wrote_is_text(page, busy: Served) -> None:
    search = enter(busy.ledger, busy.home, HOSTILE)
    driver = Driver(busy.ledger, search, sample_ledger(3, seed=5), epochs=1)
    fail_with(driver, 0, f"failed with {HOSTILE}")
    driver.release(SearchState.FAILED, f"ended by {HOSTILE}")
    page.goto(busy.url)
    expect(page.get_by_role("link", name=HOSTILE).first).to_be_visible()
    page.goto(f"{busy.url}/searches/{search.id}?tab=failures")
    expect(page).to_have_title(f"{HOSTILE} · Evolve")
    expect(page.get_by_role("alert")).to_have_text(f"ended by {HOSTILE}")
    expect(page.get_by_role("region", name="Latest failures").last).to_contain_text(f"failed with {HOSTILE}")
    page.goto(f"{busy.url}/searches/{search.id}/individuals/0")
    expect(page.get_by_role("alert")).to_contain_text(f"failed with {HOSTILE}")
    page.get_by_text("Details").click()
    expect(page.locator("pre")).to_contain_text("<b>boom</b>")
    page.goto(f"{busy.url}/compare?ids={search.id}")
    expect(page.get_by_role("link", name=HOSTILE)).to_be_visible()
    page.goto(f"{busy.url}/searches/<script>alert(1)")
    expect(page.get_by_role("alert")).to_contain_text("<script>alert(1)")
    assert page.locator("img[src=x]").count() == 0


def test_it_fits_a_phone_and_follows_the_system_theme(page, busy: Served, bottles: SearchRecord) -> None:
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    mine = f"/searches/{bottles.id}"
    more = ("/", f"/compare?ids={bottles.id}", "/submit", "/keys", "/datasets")
    paths = (mine, f"{mine}?tab=genes", f"{mine}/individuals/3", *more)
    for path in paths:
        page.goto(busy.url + path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator("[aria-busy=true]:visible")).to_have_count(0)
        page.wait_for_timeout(300)
        assert fits(page), path
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{background} !== '{dark}'")
    page.get_by_label("Theme").select_option("dark")
    page.wait_for_function(f"{background} === '{dark}'")
    page.goto(f"{busy.url}/searches/{bottles.id}")
    page.wait_for_function(f"{background} === '{dark}'")
    _, options = chart(page, "of every individual")
    assert next(each for each in options["series"] if each["id"] == "mean")["lineStyle"]["color"] == "#67b7ec"


def test_it_can_be_used_by_keyboard(page, busy: Served, bottles: SearchRecord) -> None:
    page.goto(f"{busy.url}/searches/{bottles.id}")
    expect(page.get_by_role("tab", name="Population")).to_be_visible()
    focused = "document.activeElement"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.textContent") == "Skip to the content"
    page.keyboard.press("Tab")
    assert page.evaluate(f"{focused}.getAttribute('aria-label')") == "Evolve, all searches"
    assert page.evaluate(f"parseFloat(getComputedStyle({focused}).outlineWidth)") >= 2
    page.get_by_role("tab", name="Population").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Genes")).to_be_focused()
    expect(page.get_by_role("tab", name="Genes")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tabpanel", name="Genes")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    sort = page.get_by_role("button", name="#", exact=True)
    sort.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="#")).to_have_attribute("aria-sort", "descending")
    first = page.get_by_role("region", name="Individuals").get_by_role("link").first
    expect(first).to_have_text("#39")
    first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/individuals/39")
    unnamed = """[...document.querySelectorAll('input, select, textarea, button, a')].filter((element) =>
        !element.closest('[aria-hidden=true]') && element.offsetParent && element.type !== 'hidden' &&
        !(element.ariaLabel || element.textContent.trim() || element.labels?.length || element.closest('label'))
    ).map((element) => element.outerHTML)"""
    for path in (f"/searches/{bottles.id}", "/", "/submit", "/keys", "/datasets"):
        page.goto(busy.url + path)
        expect(page.locator("[aria-busy=true]:visible")).to_have_count(0)
        assert page.evaluate(unnamed) == [], path


def test_results_are_downloaded(page, busy: Served, bottles: SearchRecord) -> None:
    page.goto(f"{busy.url}/searches/{bottles.id}")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Best YAML").click()
    content = Path(waiting.value.path()).read_text()
    assert f"individual {bottles.best_individual}" in content
    expect(page.get_by_role("link", name="Weights")).to_be_hidden()  # these trainings left none
    answer = page.request.get(f"{busy.url}/searches/{bottles.id}/report")
    assert answer.ok
    assert "sandbox" in answer.headers["content-security-policy"]
    missing = page.request.get(f"{busy.url}/searches/{bottles.id}/weights")
    assert missing.status == 404
    assert len(missing.text().splitlines()) == 1


def test_unknown_addresses(page, busy: Served) -> None:
    answer = page.request.get(f"{busy.url}/api/v1/nothing", headers={"accept": "text/html"})
    assert (answer.status, answer.json()) == (404, {"detail": answer.json()["detail"]})
    assert page.goto(f"{busy.url}/nothing").status == 404
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    assert page.request.get(f"{busy.url}/nothing.js", headers={"accept": "*/*"}).json() == {"detail": "Not Found"}
    assert page.goto(f"{busy.url}/searches/00000000").status == 404
    expect(page.get_by_role("alert")).to_contain_text("no search has this id")
    assert page.goto(f"{busy.url}/searches/bottles/individuals/99999999999999999999").status == 404
    policy = page.request.get(busy.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


@pytest.fixture
def new(services: list[Served]) -> Iterator[Served]:
    """The service that begins with nothing; it loses its keys again."""
    yield services[1]
    registry = services[1].ledger.registry
    for each in list(registry.keys()):
        registry.revoke_key(each.id)
    services[1].app.state.service.doorkeeper.forget()


def sign_in(page, served: Served, scope: str) -> str:
    """Sign in with a new key; returns its id."""
    made, token = make_key(scope, [scope])
    served.ledger.registry.add_key(**made)
    served.app.state.service.doorkeeper.forget()
    page.goto(served.url)
    page.wait_for_url("**/login?next=/")
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{served.url}/")
    return made["key_id"]


def test_from_nothing_to_the_first_key_and_a_sign_in(page, new: Served) -> None:
    page.goto(new.url)
    expect(page.get_by_text(re.compile("No search yet|All searches")).first).to_be_attached()
    page.goto(f"{new.url}/datasets")
    expect(page.get_by_text("No data set is registered")).to_be_visible()
    page.get_by_label("Id").fill("bottles")
    page.get_by_label("Path on the service's machine").fill("/nowhere")
    page.get_by_role("button", name="Check and register").click()
    expect(page.get_by_text("must be the absolute path of a data YAML")).to_be_visible()

    page.goto(f"{new.url}/keys")
    page.get_by_label("Name").fill("<b>boss</b>")
    page.get_by_role("button", name="Make the key").click()
    key = page.locator(".ev-secret").inner_text()
    assert re.fullmatch(r"evk_[0-9a-f]{8}_\S{43}", key)
    page.goto(f"{new.url}/keys")
    page.wait_for_url("**/login?next=/keys")
    page.get_by_label("API key").fill("evk_00000000_" + "x" * 43)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known here")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/keys")
    expect(page.get_by_role("cell", name="<b>boss</b>", exact=True).first).to_be_visible()

    cookie = next(each for each in page.context.cookies() if each["name"] == "evolve_session")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert key not in cookie["value"]
    page.goto(f"{new.url}/login?next=//evil.example/")
    page.wait_for_url(f"{new.url}/")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login")
    page.goto(f"{new.url}/keys")
    page.wait_for_url("**/login?next=/keys")


def test_a_reader_changes_nothing(page, new: Served) -> None:
    sign_in(page, new, "read")
    owned = enter(new.ledger, new.home, "owned")
    expect(page.get_by_role("link", name="owned")).to_be_visible()
    expect(page.get_by_role("link", name="Submit", exact=True)).to_have_count(0)
    assert page.goto(f"{new.url}/keys").status == 403
    expect(page.get_by_role("alert")).to_contain_text("needs a key with the scope admin")
    page.goto(f"{new.url}/searches/{owned.id}")
    expect(page.get_by_role("link", name="Report")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    new.ledger.delete_search(owned.id)


def test_a_submitter_changes_what_is_theirs_until_the_key_is_revoked(page, new: Served) -> None:
    key_id = sign_in(page, new, "submit")
    owned = enter(new.ledger, new.home, "owned")
    mine = enter(new.ledger, new.home, "mine", submitted_by=key_id)
    page.goto(f"{new.url}/searches/{owned.id}")
    expect(page.get_by_role("link", name="Report")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.goto(f"{new.url}/searches/{mine.id}")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    sign_in_again, _ = make_key("keeps the door shut", ["admin"])
    new.ledger.registry.add_key(**sign_in_again)
    new.ledger.registry.revoke_key(key_id)
    page.get_by_role("button", name="Cancel").click()  # its question is open while the page is closed
    page.wait_for_url("**/login*")
    assert new.ledger.search(mine.id).request is None
    page.goto(new.url)
    page.wait_for_url("**/login?next=/")
    for search in (owned, mine):
        new.ledger.delete_search(search.id)


def test_who_is_sent_to_sign_in_leaves_nothing_behind_and_cannot_do_so_too_often(new: Served) -> None:
    limit, service = RateLimit(0.001, 3), new.app.state.service
    new.ledger.registry.add_key(**make_key("boss", ["admin"])[0])
    service.doorkeeper.forget()
    before = set(Client.instances)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_rate", "_burst", "_buckets"):
            patch.setattr(service.requests, name, getattr(limit, name))
        answers = [httpx.get(new.url) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [303, 303, 303, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert set(Client.instances) <= before


def test_mistakes_of_others_at_the_same_address_shut_out_nobody_with_a_key(new: Served) -> None:
    made, token = make_key("boss", ["admin"])
    new.ledger.registry.add_key(**made)
    new.app.state.service.doorkeeper.forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new.app.state.service.failures, "_burst", 2)
        targets = [
            httpx.post(f"{new.url}/login", data={"key": key}).headers["location"]
            for key in ("evk_bad", "evk_bad", "evk_bad", token)
        ]
    assert [target.partition("&")[0] for target in targets] == [
        "/login?failed=key", "/login?failed=key", "/login?failed=often", "/",
    ]  # fmt: skip
