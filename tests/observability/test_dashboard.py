"""The gateway's dashboard in headless Chromium, and its routes over HTTP."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from past_calls import spend
from paymaster.errors import LedgerUnavailable
from paymaster.gateway.auth import Key, digest_of, matches
from paymaster.gateway.observability import Observability
from paymaster.gateway.service import AccessPolicy
from paymaster.gateway.serving import GatewayConfig, in_background, listen
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.options import configure
from paymaster.runtime import run
from paymaster.testing import ManualRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("dashboard")  # one browser and two gateways for all tests
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


def begin(folder: Path, access: AccessPolicy | None = None):
    """A gateway over a ledger with two days of calls."""
    (folder / "script.yaml").write_text(SCRIPT)
    (folder / "registry.yaml").write_text(REGISTRY)
    path = folder / "state" / "ledger.sqlite3"
    path.parent.mkdir()
    books = SqliteLedger(path, ManualRuntime().sleep)
    with ThreadPoolExecutor(1) as elsewhere:  # playwright keeps a loop running in this thread
        elsewhere.submit(spend, books, time.time_ns() // 1_000_000, hours=20, calls=60).result()
    run(books.close())
    observability = Observability({})
    options = {"run": "serve-1", "state_dir": folder / "state"}
    config = GatewayConfig(
        read_options=lambda: observability.add_listeners(configure(folder / "registry.yaml", options)),
        access=access or AccessPolicy(),
        extra_routes=(observability.routes,),
    )
    server_socket = listen("127.0.0.1", 0)
    return in_background(config, server_socket), f"http://127.0.0.1:{server_socket.getsockname()[1]}"


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
        AccessPolicy(find_key=lambda shown: next((key for key in keys if matches(shown, key.digest)), None), needs_key=lambda: True),
    )
    with running:
        yield Gateway(url)


# ---------------------------------------------------------------------------------------------------------------- HTTP


def basic(secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"me:{secret}".encode()).decode()}


@pytest.mark.parametrize("path", ["/", "/dashboard/live", "/metrics"])
def test_with_keys_the_dashboard_and_metrics_need_one(guarded, path):
    for headers in ({}, basic("wrong"), {"authorization": "Basic !!!"}, {"authorization": "Bearer wrong"}):
        status, text, _ = fetch(guarded.url + path, **headers)
        assert status == 401
        assert "exp-0" not in text
    for headers in (basic("pm-all-secret"), {"authorization": "Bearer pm-all-secret"}, {"x-api-key": "pm-all-secret"}):
        assert fetch(guarded.url + path, **headers)[0] == 200


KILLED = """
import os, sys, time
from pathlib import Path
from paymaster.accounting.accounts import Charge, Hold
from paymaster.ledgers.sqlite.ledger import SqliteLedger
from paymaster.runtime import BlockingRuntime, run
charges = (Charge("usd/~ann/run/r", 180_000_000, None), Charge("usd/~ben/run/r", 900_000_000, None))
run(SqliteLedger(Path(sys.argv[1]), BlockingRuntime().sleep).reserve(Hold("h", charges, 600_000), time.time_ns() // 1_000_000))
os.kill(os.getpid(), 9)
"""


def test_it_says_what_a_process_that_ended_still_holds_of_what_the_reader_may_see(tmp_path):
    key = Key(id="k1", user="ann", digest=digest_of("pm-ann-secret"), operator=False)
    access = AccessPolicy(find_key=lambda shown: key if matches(shown, key.digest) else None, needs_key=lambda: True)
    running, url = begin(tmp_path, access)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with running:
        with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "state" / "ledger.sqlite3")], env=environment) as killed:
            killed.wait()
        status, text, _ = fetch(f"{url}/dashboard/live", authorization="Bearer pm-ann-secret")
    assert status == 200
    assert f"$0.18 is held by a process that ended (pid {killed.pid}); charged by the next call." in text


def test_a_browser_gets_a_password_prompt(guarded):
    assert fetch(guarded.url + "/")[2]["www-authenticate"].startswith('Basic realm="Paymaster')


def test_a_users_key_shows_only_that_users_calls_and_budgets(guarded):
    text = fetch(guarded.url + "/", **basic("pm-ann-secret"))[1]
    assert "The calls and budgets of ann" in text
    assert "user ann" in text
    assert "ben" not in text
    assert "run exp-" not in text
    assert "ben" in fetch(guarded.url + "/", **basic("pm-all-secret"))[1]


def test_another_sites_page_can_not_read_the_dashboard(gateway):
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        status, text, _ = fetch(gateway.url + "/", **headers)
        assert (status, "exp-0" in text) == (403, False)


def test_the_content_policy_forbids_everything_unused(gateway):
    headers = fetch(gateway.url + "/")[2]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("range_name", ["1h", "24h", "7d", "", "<b>", "1000000y"])
def test_any_range_is_answered(gateway, range_name):
    status, text, _ = fetch(f"{gateway.url}/dashboard/live?range={urllib.parse.quote(range_name)}")
    assert status == 200
    assert 'aria-current="true"' in text


def test_metrics_have_counters_and_ledger_gauges(gateway):
    assert gateway.ask(run="metrics") == 200
    status, text, headers = fetch(gateway.url + "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain")
    assert 'paymaster_attempts_total{model="local-llm",outcome="answered",provider="scripted"}' in text
    assert 'paymaster_budget_spent_usd{budget="run",model=""}' in text
    assert "exp-0" not in text


def test_without_the_ledger_metrics_still_have_counters(tmp_path):
    running, url = begin(tmp_path)
    with running as alive:
        books = alive.service.active.world.books

        def fail(*_: object) -> None:
            raise LedgerUnavailable("the ledger did not answer")

        object.__setattr__(books, "balance_pages", fail)
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


@pytest.fixture(name="open_page")
def page_opener(browser, gateway):
    """Open the dashboard; at the end, the console must be empty and no other host may have been contacted."""
    contexts, console, fetched = [], [], []

    def open_page(path: str = "/", *, url: str = gateway.url, held_clock: bool = False, **settings: object):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        if held_clock:
            page.clock.install()
        page.on("console", lambda message: console.append(message.text))
        page.on("pageerror", lambda error: console.append(str(error)))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert console == []
    assert [address for address in fetched if not address.startswith(("http://127.0.0.1:", "data:"))] == []


PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_is_readable_on_phone_and_desktop_in_light_and_dark(open_page, gateway, size, scheme, tmp_path):
    """axe-core checks contrast, and once names, roles and structure. The page must not scroll sideways or be blank."""
    from axe_playwright_python.sync_playwright import Axe

    gateway.ask(picture=True, user="ann")
    page = open_page(viewport=size, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one, index) => { one.open = index < 5; })")
    everything = (size, scheme) == (PHONE, "dark")
    found = Axe().run(page, options={} if everything else {"runOnly": ["color-contrast"]})
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture = page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert len(picture) > 30_000
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 380) is (scheme == "light")


def test_every_section_has_a_name(open_page):
    page = open_page(viewport=DESKTOP)
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert headings == ["Budgets", "Models and limits", "Spending over time", "Recent calls"]
    assert page.get_by_role("img", name="Spending by model from").count() == 1
    assert page.get_by_role("row", name="run exp-3").get_by_role("img", name="% used").count() == 1
    assert page.get_by_role("row", name="local-llm scripted").inner_text().split()[2] == "ready"
    assert page.get_by_role("table", name="Spent and held of each budget").count() == 1


def test_a_call_explains_its_model_and_the_others(open_page, gateway):
    assert gateway.ask(picture=True, run="look", instance="why-1") == 200
    page = open_page(viewport=DESKTOP)
    call = page.locator(".calls > li", has_text="look/why-1")
    assert call.locator("strong").inner_text() == "gpt-4o"
    call.locator("summary").click()
    assert call.locator("li").all_inner_texts() == [
        "local-llm was skipped: it lacks vision",
        "claude-sonnet failed: server error (HTTP 500): boom",
        "gpt-4o answered as a fallback.",
    ]


def test_updates_keep_open_details_and_focus_and_stop_while_paused(open_page, gateway):
    page = open_page(viewport=DESKTOP, held_clock=True)
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
    page.get_by_role("button", name="Resume").click()
    in_time(page, page.locator(".calls > li", has_text="live/unseen"))


def in_time(page, element) -> None:
    """Move the page's held clock on until the element appears, for at most a real minute."""
    ends_at = time.monotonic() + 60
    while not element.count() and time.monotonic() < ends_at:
        page.clock.run_for(3_100)
        page.wait_for_timeout(100)
    assert element.count() == 1


def test_the_page_works_with_the_keyboard_alone(open_page):
    page = open_page(viewport=DESKTOP)
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


def test_names_are_escaped(open_page, gateway):
    assert gateway.ask(run=NASTY, user=NASTY, instance=NASTY) == 200
    page = open_page(viewport=DESKTOP)
    assert page.title() == "Paymaster"
    page.locator(".calls > li", has_text=NASTY).first.wait_for(timeout=60_000)  # the page updates every few seconds
    assert page.locator("main img").count() == 0


def test_the_page_says_when_the_gateway_does_not_answer(browser, gateway):
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.goto(gateway.url)
    page.route("**/dashboard/live*", lambda route: route.abort())
    in_time(page, page.get_by_text("No answer from the gateway; trying again."))
    assert page.get_by_role("heading", name="Budgets").is_visible()
    context.close()


def test_without_scripts_the_page_reloads(open_page):
    page = open_page(viewport=DESKTOP, java_script_enabled=False)
    assert page.locator("section").count() == 4
    assert page.locator("meta[http-equiv=refresh]").count() == 1


def test_a_browser_signs_in_with_a_key(open_page, guarded):
    page = open_page(url=guarded.url, http_credentials={"username": "any", "password": "pm-all-secret"})
    assert page.get_by_role("heading", name="Recent calls").is_visible()
