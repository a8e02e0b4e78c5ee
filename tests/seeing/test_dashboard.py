"""The gateway's dashboard in a real headless Chromium, and its addresses as HTTP has them."""

from __future__ import annotations

import base64
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from past_calls import spend
from paymaster.configuring import configure
from paymaster.errors import LedgerUnavailable
from paymaster.gateway.callers import Key, digest_of, matches
from paymaster.gateway.seeing import Seeing
from paymaster.gateway.service import Door
from paymaster.gateway.serving import Serving, in_background, listen
from paymaster.ledgers.sqlite import SqliteLedger
from paymaster.runtime import run
from paymaster.testing import ManualRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("dashboard")  # one browser and two gateways for all of it
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NASTY = '<img src=x onerror="document.title=1">'
SCRIPT = """
models:
  gpt-4o: {answers: [{text: one two three}]}
  claude-sonnet: {faults: [{kind: server_error, always: true, message: boom}]}
  local-llm: {answers: [{text: one two three}]}
"""
SECTION = "provider: scripted, script: script.yaml, usd_per_1m_input: 1, usd_per_1m_output: 10, max_output_tokens: 100"
REGISTRY = f"""
models:
  gpt-4o: {{{SECTION}, model_id: gpt-4o, rpm: 600, max_parallel: 8, capabilities: [vision]}}
  claude-sonnet: {{{SECTION}, model_id: claude-sonnet, capabilities: [vision]}}
  local-llm: {{{SECTION}, model_id: local-llm, capabilities: []}}
policies:
  budget_usd_per_month: 30
  budget_usd_per_run: 5
  budgets: [{{usd: 12, per: [user, month]}}]
  fallback_chain: [local-llm, claude-sonnet, gpt-4o]
  retries_per_model: 0
"""
PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@dataclass(frozen=True)
class Gateway:
    url: str

    def ask(self, model: str = "default", *, picture: bool = False, key: str = "any", **scope: str) -> int:
        """One call; the status of its answer."""
        content = [{"type": "text", "text": "Why?"}, *([{"type": "image_url", "image_url": {"url": PICTURE}}] if picture else [])]
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": content}]}).encode()
        names = {f"x-paymaster-{name}": value for name, value in scope.items()}
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}", **names}
        return fetch(f"{self.url}/v1/chat/completions", body, **headers)[0]


def fetch(url: str, body: bytes | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(url, body, headers)  # noqa: S310  a gateway on loopback
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  the same
            return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), {name.lower(): value for name, value in error.headers.items()}


def begin(folder: Path, door: Door | None = None):
    """A gateway over a ledger with two days of calls."""
    (folder / "script.yaml").write_text(SCRIPT)
    (folder / "registry.yaml").write_text(REGISTRY)
    path = folder / "state" / "ledger.sqlite3"
    path.parent.mkdir()
    books = SqliteLedger(path, ManualRuntime().sleep)
    with ThreadPoolExecutor(1) as elsewhere:  # playwright keeps a loop running in this thread
        elsewhere.submit(spend, books, time.time_ns() // 1_000_000, hours=20, calls=60).result()
    run(books.close())
    seeing = Seeing({})
    options = {"run": "serve-1", "state_dir": folder / "state"}
    serving = Serving(
        read_options=lambda: seeing.listening(configure(folder / "registry.yaml", options)), door=door or Door(), more=(seeing.routes,)
    )
    listening = listen("127.0.0.1", 0)
    return in_background(serving, listening), f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(name="gateway", scope="module")
def serve(tmp_path_factory) -> Iterator[Gateway]:
    running, url = begin(tmp_path_factory.mktemp("gateway"))
    with running:
        yield Gateway(url)


KEYS = {"pm-ann-secret": "ann", "pm-all-secret": "operator"}


@pytest.fixture(name="guarded", scope="module")
def serve_with_keys(tmp_path_factory) -> Iterator[Gateway]:
    keys = [Key(id=secret[3:6], user=user, digest=digest_of(secret), operator=user == "operator") for secret, user in KEYS.items()]
    running, url = begin(
        tmp_path_factory.mktemp("guarded"),
        Door(find_key=lambda shown: next((key for key in keys if matches(shown, key.digest)), None), needs_key=lambda: True),
    )
    with running:
        yield Gateway(url)


# ------------------------------------------------------------------------------------------------------------ addresses


def basic(secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()}


@pytest.mark.parametrize("path", ["/", "/dashboard/live", "/metrics"])
def test_where_there_are_keys_nobody_looks_without_one(guarded, path):
    for headers in ({}, basic("wrong"), {"authorization": "Basic !!!"}, {"authorization": "Bearer wrong"}):
        status, text, _ = fetch(guarded.url + path, **headers)
        assert status == 401
        assert "exp-0" not in text
    for headers in (basic("pm-all-secret"), {"authorization": "Bearer pm-all-secret"}, {"x-api-key": "pm-all-secret"}):
        assert fetch(guarded.url + path, **headers)[0] == 200


def test_a_browser_is_told_how_to_ask_for_the_key(guarded):
    assert fetch(guarded.url + "/")[2]["www-authenticate"].startswith('Basic realm="Paymaster')


def test_the_key_of_a_user_shows_the_calls_and_budgets_of_that_user_alone(guarded):
    text = fetch(guarded.url + "/", **basic("pm-ann-secret"))[1]
    assert "The calls and budgets of ann" in text
    assert "user ann" in text
    assert "ben" not in text
    assert "run exp-" not in text
    assert "ben" in fetch(guarded.url + "/", **basic("pm-all-secret"))[1]


def test_a_page_of_another_site_can_not_read_it_by_way_of_its_name(gateway):
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        status, text, _ = fetch(gateway.url + "/", **headers)
        assert (status, "exp-0" in text) == (403, False)


def test_the_page_forbids_whatever_it_does_not_need(gateway):
    headers = fetch(gateway.url + "/")[2]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("wanted", ["1h", "24h", "7d", "", "<b>", "1000000y"])
def test_any_range_is_answered_with_one_that_there_is(gateway, wanted):
    status, text, _ = fetch(f"{gateway.url}/dashboard/live?range={urllib.parse.quote(wanted)}")
    assert status == 200
    assert 'aria-current="true"' in text


def test_metrics_tell_what_was_asked_and_what_the_ledger_says(gateway):
    assert gateway.ask(run="metrics") == 200
    status, text, headers = fetch(gateway.url + "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert 'paymaster_attempts_total{model="local-llm",outcome="answered",provider="scripted"}' in text
    assert 'paymaster_budget_spent_usd{budget="run",model=""}' in text
    assert "exp-0" not in text


def test_a_ledger_that_is_away_is_said_and_counters_are_still_told(tmp_path):
    running, url = begin(tmp_path)
    with running as alive:
        books = alive.service.desk.world.books

        async def away(*_: object) -> None:
            raise LedgerUnavailable("the ledger did not answer")

        object.__setattr__(books, "balances", away)
        status, text, _ = fetch(url + "/")
        assert (status, text) == (503, "the ledger did not answer\n")
        status, text, _ = fetch(url + "/metrics")
        assert status == 200
        assert "paymaster_holds_total" in text
        assert "paymaster_budget_spent_usd" not in text


# -------------------------------------------------------------------------------------------------------------- browser


@pytest.fixture(name="browser", scope="module")
def launch():
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser on the PATH ({', '.join(BROWSERS)})")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture(name="visit")
def visitor(browser, gateway):
    """Open the dashboard; at the end nothing may have been complained of or fetched from elsewhere."""
    contexts, complaints, fetched = [], [], []

    def visit(path: str = "/", *, url: str = gateway.url, held_clock: bool = False, **settings: object):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        if held_clock:
            page.clock.install()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(url + path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []
    assert [address for address in fetched if not address.startswith(("http://127.0.0.1:", "data:"))] == []


PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_it_reads_well_on_phone_and_desk_in_light_and_dark(visit, gateway, size, scheme, tmp_path):
    """axe-core checks contrast, and once names, roles and structure; a page that scrolls sideways or is blank is no page."""
    from axe_playwright_python.sync_playwright import Axe

    gateway.ask(picture=True, user="ann")
    page = visit(viewport=size, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one, place) => { one.open = place < 5; })")
    everything = (size, scheme) == (PHONE, "dark")
    found = Axe().run(page, options={} if everything else {"runOnly": ["color-contrast"]})
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture = page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert len(picture) > 30_000
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 380) is (scheme == "light")


def test_every_part_is_there_and_named(visit):
    page = visit(viewport=DESK)
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert headings == ["Budgets", "Models and limits", "Spending over time", "Latest calls"]
    assert page.get_by_role("img", name="Spending by model from").count() == 1
    assert page.get_by_role("row", name="run exp-3").get_by_role("img", name="% used").count() == 1
    assert page.get_by_role("row", name="local-llm scripted").inner_text().split()[2] == "ready"
    assert page.get_by_role("table", name="What is spent and held of each budget").count() == 1


def test_a_call_tells_why_this_model_and_why_not_the_others(visit, gateway):
    assert gateway.ask(picture=True, run="look", instance="why-1") == 200
    page = visit(viewport=DESK)
    call = page.locator(".calls > li", has_text="look/why-1")
    assert call.locator("strong").inner_text() == "gpt-4o"
    call.locator("summary").click()
    assert call.locator("li").all_inner_texts() == [
        "local-llm was not asked: it lacks vision",
        "claude-sonnet was asked and failed: server error (HTTP 500): boom",
        "gpt-4o came next, and answered.",
    ]


def test_it_is_live_until_it_is_paused_and_what_is_open_or_in_focus_stays_so(visit, gateway):
    page = visit(viewport=DESK, held_clock=True)
    first = page.locator(".calls details").first
    opened = first.get_attribute("id")
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    gateway.ask(run="live", instance="new-1")
    in_time(page, page.locator(".calls > li", has_text="live/new-1"))
    assert page.locator(f"#{opened}").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.parentElement.id") == opened
    page.get_by_role("button", name="Pause").click()
    assert page.get_by_role("status").inner_text() == "Paused."
    gateway.ask(run="live", instance="unseen")
    page.clock.run_for(10_000)
    assert page.locator(".calls > li", has_text="live/unseen").count() == 0
    page.get_by_role("button", name="Go on").click()
    in_time(page, page.locator(".calls > li", has_text="live/unseen"))


def in_time(page, wanted) -> None:
    """The page's clock is held: move it on until what is wanted is there, or a real minute is over."""
    ends_at = time.monotonic() + 60
    while not wanted.count() and time.monotonic() < ends_at:
        page.clock.run_for(3_100)
        page.wait_for_timeout(100)
    assert wanted.count() == 1


def test_it_is_worked_by_keyboard_alone(visit):
    page = visit(viewport=DESK)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the figures"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "live"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section').id") in ("budgets", "models", "spending")
    page.locator("#range-7d").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/?range=7d")
    assert page.locator("#range-7d").get_attribute("aria-current") == "true"


def test_names_are_never_markup(visit, gateway):
    assert gateway.ask(run=NASTY, user=NASTY, instance=NASTY) == 200
    page = visit(viewport=DESK)
    assert page.title() == "Paymaster"
    page.locator(".calls > li", has_text=NASTY).first.wait_for(timeout=60_000)  # the page asks again every few seconds
    assert page.locator("main img").count() == 0


def test_it_says_so_when_the_gateway_does_not_answer(browser, gateway):
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.goto(gateway.url)
    page.route("**/dashboard/live*", lambda route: route.abort())
    in_time(page, page.get_by_text("No answer from the gateway; trying again."))
    assert page.get_by_role("heading", name="Budgets").is_visible()
    context.close()


def test_without_scripts_it_is_a_whole_page_that_comes_anew(visit):
    page = visit(viewport=DESK, java_script_enabled=False)
    assert page.locator("section").count() == 4
    assert page.locator("meta[http-equiv=refresh]").count() == 1


def test_a_browser_gets_in_with_a_key(visit, guarded):
    page = visit(url=guarded.url, http_credentials={"username": "any", "password": "pm-all-secret"})
    assert page.get_by_role("heading", name="Latest calls").is_visible()
