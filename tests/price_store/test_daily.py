"""A gateway updates its prices once a day, one worker for all, and takes what another process has updated."""

import asyncio
import logging
from pathlib import Path

import pytest
from genai_prices.data import providers as shipped

from paymaster.accounting.prices.published import write_published
from paymaster.price_store.daily import CLAIM_S, DAY_MS, Updates, claim, is_due, keep_updated
from paymaster.price_store.folder import SHIPPED, Index, PriceFolder
from price_servers import PriceServer, sends

TEXT = write_published(shipped)


class Gateway:
    """One worker process that keeps its prices up to date."""

    def __init__(self, folder: PriceFolder, source: str | None) -> None:
        self.folder, self.source, self.loaded, self.reloads = folder, source, SHIPPED, 0

    def wanted(self) -> Updates | None:
        return None if self.source is None else Updates(state_dir=self.folder.path.parent, source=self.source, loaded=self.loaded)

    def reload(self) -> None:
        self.reloads += 1

    async def run(self) -> None:
        """Long enough for an update, and for some looks after it."""
        task = asyncio.create_task(keep_updated(self.wanted, self.reload, look_s=0.01))
        for _ in range(1_000):
            await asyncio.sleep(0.02)
            if self.source is None or self.reloads or self.folder.index().checked_at_ms or self.asked:
                break
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asked = False


def test_new_prices_are_fetched_once_and_reloaded_once(folder: PriceFolder, server: PriceServer) -> None:
    asked: list[str] = []
    answer = sends(TEXT)

    def counted(handler) -> None:
        asked.append(handler.path)
        answer(handler)

    server.answers["/data.json"] = counted
    gateway = Gateway(folder, f"{server.url}/data.json")
    asyncio.run(gateway.run())
    assert (asked, gateway.reloads) == (["/data.json"], 1)
    other = Gateway(folder, f"{server.url}/data.json")
    asyncio.run(other.run())
    assert (len(asked), other.reloads) == (1, 1)
    current = folder.index().current
    assert current is not None
    third = Gateway(folder, f"{server.url}/data.json")
    third.loaded = current.digest
    asyncio.run(third.run())
    assert (len(asked), third.reloads) == (1, 0)


def test_without_the_option_nothing_is_fetched(folder: PriceFolder) -> None:
    gateway = Gateway(folder, None)
    asyncio.run(gateway.run())
    assert gateway.reloads == 0
    assert not folder.path.exists()


def test_an_update_that_fails_is_logged_and_tried_again_an_hour_later(
    folder: PriceFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[]")
    gateway = Gateway(folder, str(bad))
    gateway.asked = True
    with caplog.at_level(logging.INFO, "paymaster.prices"):
        asyncio.run(gateway.run())
    assert caplog.text.count("prices are not updated: ") == 1
    assert "has no model" in caplog.text
    assert gateway.reloads == 0


def test_what_is_held_back_is_logged(folder: PriceFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "data.json"
    file.write_text(TEXT.replace('"input_mtok":2.5,', '"input_mtok":250,', 1))
    with caplog.at_level(logging.INFO, "paymaster.prices"):
        asyncio.run(Gateway(folder, str(file)).run())
    assert "prices held back: 1 (anthropic claude-opus-4-5: batch: input_mtok $2.5 became $250)" in caplog.text


def test_prices_are_due_after_a_day_or_if_the_clock_was_set_back(folder: PriceFolder) -> None:
    assert is_due(folder, DAY_MS * 20_000)
    folder.save(Index(checked_at_ms=1_000_000))
    assert not is_due(folder, 1_000_000 + DAY_MS - 1)
    assert is_due(folder, 1_000_000 + DAY_MS)
    assert is_due(folder, 999_999)


def test_one_process_updates_and_is_given_up_after_an_hour(folder: PriceFolder, tmp_path: Path) -> None:
    assert claim(folder, 1_000_000.0)
    assert not claim(folder, 1_000_000.0 + CLAIM_S - 1)
    assert claim(folder, 1_000_000.0 + CLAIM_S)
    (tmp_path / "prices").write_text("a file where the folder would be")
    assert not claim(PriceFolder(tmp_path), 1_000_000.0)
