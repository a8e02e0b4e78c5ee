"""An update is taken whole, dated and named by its digest, or it changes nothing."""

import json
import logging
import os
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from genai_prices.data import providers as shipped

from paymaster.accounting.prices.published import write_published
from paymaster.errors import PricesNotUpdated
from paymaster.price_store.folder import SHIPPED, PriceFolder
from paymaster.price_store.opening import open_catalogue
from paymaster.price_store.updating import NewData, Updated, accept_waiting, update, use_shipped

NOW_MS = 1_796_040_000_000  # 2026-11-30
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
TEXT = write_published(shipped)


def take(folder: PriceFolder, text: str, *, now_ms: int = NOW_MS, accept: bool = False, published: str | None = None) -> Updated:
    return update(folder, NewData(text=text.encode(), source="here", published=published), now_ms, accept=accept)


def with_price(model: str, usd: str) -> str:
    changed, count = re.subn(rf'("id":"{model}",.*?"input_mtok":)[\d.]+', rf"\g<1>{usd}", TEXT, count=1)
    assert count == 1
    return changed


def input_rate(folder: PriceFolder, model: str = "gpt-4.1", run: str | None = None) -> str:
    price = open_catalogue(folder.path.parent, run)[0].lookup("openai", model, AT)
    assert price is not None
    return f"{price.table.rates(0).input} {price.source}"


def files(folder: PriceFolder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.path.rglob("*")) if path.is_file()}


def test_without_an_update_the_shipped_prices_are_used(folder: PriceFolder) -> None:
    assert input_rate(folder) == "2 catalogue genai-prices 0.2.3"
    assert not folder.path.exists()


def test_an_update_is_used_by_the_next_process_and_names_day_and_digest(folder: PriceFolder) -> None:
    updated = take(folder, with_price("gpt-4.1", "3"))
    assert (updated.is_new, updated.added, updated.changed, updated.held_back) == (True, 0, 1, ())
    assert re.fullmatch(r"2026-11-30 [0-9a-f]{8}", updated.edition.name)
    assert input_rate(folder) == f"3 catalogue genai-prices {updated.edition.name}"


def test_an_update_of_2500_changed_models_takes_less_than_a_second(folder: PriceFolder) -> None:
    models = [f'{{"id":"m-{n}","match":{{"equals":"m-{n}"}},"prices":{{"input_mtok":1,"output_mtok":2}}}}' for n in range(2_500)]
    text = f'[{{"id":"openai","models":[{",".join(models)}]}}]'
    take(folder, text, accept=True)
    began = time.process_time()
    updated = take(folder, text.replace('"output_mtok":2', '"output_mtok":3'))
    assert updated.changed == 2_500
    assert time.process_time() - began < 1


def test_the_same_prices_keep_their_name(folder: PriceFolder) -> None:
    first = take(folder, TEXT)
    again = take(folder, json.dumps(json.loads(TEXT), indent=1), now_ms=NOW_MS + 86_400_000)
    assert (again.is_new, again.edition.name) == (False, first.edition.name)
    assert folder.index().checked_at_ms == NOW_MS + 86_400_000
    assert folder.index().previous is None


def test_a_price_that_moves_too_far_waits_for_a_person(folder: PriceFolder) -> None:
    updated = take(folder, with_price("gpt-4.1", "30").replace('"id":"gpt-4o","match"', '"id":"gpt-4o-renamed","match"'))
    assert [(row.model, row.kind) for row in updated.held_back] == [("gpt-4.1", "moved")]
    assert input_rate(folder).startswith("2 ")
    assert folder.index().held_back == updated.held_back
    accepted = accept_waiting(folder, NOW_MS + 1)
    assert accepted.held_back == ()
    assert input_rate(folder).startswith("30 ")
    assert folder.index().waiting is None
    with pytest.raises(PricesNotUpdated, match="no price is held back"):
        accept_waiting(folder, NOW_MS + 2)


def test_a_small_file_changes_its_own_models_and_keeps_the_others(folder: PriceFolder) -> None:
    row = {"id": "mistral-embed", "match": {"equals": "mistral-embed"}, "prices": {"input_mtok": 0.2}}
    updated = take(folder, json.dumps([{"id": "mistral", "models": [row]}]))
    price = open_catalogue(folder.path.parent)[0].lookup("mistral", "mistral-embed", AT)
    assert price is not None
    assert str(price.table.rates(0).input) == "0.2"
    assert len(updated.held_back) > 2_000
    assert input_rate(folder, "gpt-4o").startswith("2.5 ")


BAD = ["", "[]", TEXT[: len(TEXT) // 2], TEXT.replace('"input_mtok":2.5', '"input_mtok":-2.5', 1), '{"a": 1}', "[" * 50_000]


@pytest.mark.parametrize("text", BAD, ids=["empty", "no model", "truncated", "negative", "another shape", "deep"])
def test_data_with_a_mistake_changes_nothing(folder: PriceFolder, text: str) -> None:
    take(folder, TEXT)
    before = files(folder)
    with pytest.raises(PricesNotUpdated, match="here has no usable price data"):
        take(folder, text)
    assert files(folder) == before


def test_an_old_copy_changes_nothing(folder: PriceFolder) -> None:
    take(folder, TEXT)
    before = files(folder)
    old = re.sub(r',\{"constraint":\{"start_date":"2026-1[01]-\d\d"\},"prices":\{[^{}]*\}\}', "", TEXT)
    assert old != TEXT
    with pytest.raises(PricesNotUpdated, match=r"here is older than the prices in use: .*lacks its price of 2026-1"):
        take(folder, old)
    assert files(folder) == before
    assert take(folder, old, accept=True).is_new


@pytest.mark.parametrize(
    ("published", "is_taken"),
    [("Mon, 30 Nov 2026 10:00:00 GMT", True), ("Sun, 29 Nov 2026 10:00:00 GMT", False), ("yesterday", True), (None, True)],
)
def test_a_copy_that_the_server_dates_earlier_changes_nothing(folder: PriceFolder, published: str | None, is_taken: bool) -> None:
    take(folder, TEXT, published="Mon, 30 Nov 2026 08:00:00 GMT")
    if is_taken:
        take(folder, with_price("gpt-4.1", "3"), published=published)
    else:
        with pytest.raises(PricesNotUpdated, match="and the prices in use are of Mon, 30 Nov"):
            take(folder, with_price("gpt-4.1", "3"), published=published)
        take(folder, with_price("gpt-4.1", "3"), published=published, accept=True)


@pytest.mark.parametrize("damage", [b"", b'[{"id"', b"[]"])
def test_damaged_data_falls_back_to_the_last_good_one(folder: PriceFolder, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    first = take(folder, with_price("gpt-4.1", "3"))
    second = take(folder, with_price("gpt-4.1", "4"))
    (folder.path / f"data-{second.edition.digest}.json").write_bytes(damage)
    with caplog.at_level(logging.WARNING, "paymaster.prices"):
        assert input_rate(folder) == f"3 catalogue genai-prices {first.edition.name}"
    assert "was changed or is cut short; older prices are used" in caplog.text
    (folder.path / f"data-{first.edition.digest}.json").unlink()
    assert input_rate(folder).startswith("2 ")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"current": {"digest": 3}}', b"\xff"])
def test_a_damaged_index_means_the_shipped_prices(folder: PriceFolder, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    take(folder, with_price("gpt-4.1", "3"))
    (folder.path / "index.json").write_bytes(damage)
    assert input_rate(folder).startswith("2 ")
    assert "it is damaged; the shipped prices are used" in caplog.text
    take(folder, with_price("gpt-4.1", "3"))
    assert input_rate(folder).startswith("3 ")


def test_a_process_that_is_stopped_while_it_writes_leaves_the_old_prices(folder: PriceFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    take(folder, with_price("gpt-4.1", "3"))
    replaced = Path.replace

    def stop(path: Path, target: Path) -> Path:
        if target.name == "index.json":
            raise OSError(28, "No space left on device")
        return replaced(path, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(PricesNotUpdated, match=r"cannot write .*index\.json: No space left"):
        take(folder, with_price("gpt-4.1", "4"))
    assert input_rate(folder).startswith("3 ")
    assert not list(folder.path.glob(".new-*"))


def test_of_two_updates_at_once_the_second_sees_the_first(folder: PriceFolder) -> None:
    take(folder, TEXT, published="Mon, 30 Nov 2026 08:00:00 GMT")
    refused: list[str] = []

    def take_earlier() -> None:
        try:
            take(folder, with_price("gpt-4.1", "3"), published="Mon, 30 Nov 2026 09:00:00 GMT")
        except PricesNotUpdated as error:
            refused.append(error.message)

    other = threading.Thread(target=take_earlier)
    with folder.locked():
        other.start()
        index = folder.index()
        assert index.current is not None
        folder.save(replace(index, current=replace(index.current, published="Mon, 30 Nov 2026 10:00:00 GMT")))
    other.join()
    assert refused == ["here is of Mon, 30 Nov 2026 09:00:00 GMT, and the prices in use are of Mon, 30 Nov 2026 10:00:00 GMT"]


def test_the_shipped_prices_can_be_used_again(folder: PriceFolder) -> None:
    take(folder, with_price("gpt-4.1", "3"))
    use_shipped(folder, NOW_MS)
    assert input_rate(folder).startswith("2 ")
    assert folder.index().previous is not None


def test_a_run_keeps_the_prices_it_began_with(folder: PriceFolder) -> None:
    folder.pin("exp-1", SHIPPED)
    first = take(folder, with_price("gpt-4.1", "3"))
    folder.pin("exp-2", first.edition.digest)
    folder.pin("exp-2", SHIPPED)  # a run has one catalogue: the first
    take(folder, with_price("gpt-4.1", "4"))
    take(folder, with_price("gpt-4.1", "5"))
    assert [input_rate(folder, run=run).split()[0] for run in ("exp-1", "exp-2", "exp-3", None)] == ["2", "3", "5", "5"]


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b"\xff", b'{"run": "exp-1"}'])
def test_a_damaged_pin_is_replaced_and_stops_no_update(folder: PriceFolder, damage: bytes) -> None:
    first = take(folder, with_price("gpt-4.1", "3"))
    folder.pin("exp-1", SHIPPED)
    (pin,) = (folder.path / "runs").iterdir()
    pin.write_bytes(damage)
    assert take(folder, with_price("gpt-4.1", "4")).is_new
    assert folder.pinned("exp-1") is None
    folder.pin("exp-1", first.edition.digest)
    assert folder.pinned("exp-1") == first.edition.digest


def test_an_update_repairs_damaged_data(folder: PriceFolder) -> None:
    edition = take(folder, with_price("gpt-4.1", "3")).edition
    (folder.path / f"data-{edition.digest}.json").write_bytes(b'[{"id"')
    take(folder, with_price("gpt-4.1", "3"))
    assert input_rate(folder) == f"3 catalogue genai-prices {edition.name}"


def test_what_a_killed_process_was_writing_is_removed_after_a_day(folder: PriceFolder) -> None:
    folder.pin("exp-1", SHIPPED)
    left = [folder.path / ".new-1", folder.path / "runs" / ".new-2", folder.path / ".new-3"]
    for path in left:
        path.write_bytes(b"{")
    long_ago_s = time.time() - 2 * 86_400
    for path in left[:2]:
        os.utime(path, (long_ago_s, long_ago_s))
    take(folder, with_price("gpt-4.1", "3"))
    assert [path.exists() for path in left] == [False, False, True]


def test_other_users_of_the_directory_can_read_the_prices(folder: PriceFolder) -> None:
    mask = os.umask(0o022)
    try:
        take(folder, with_price("gpt-4.1", "3"))
        folder.pin("exp-1", SHIPPED)
    finally:
        os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.path.rglob("*.json")}
    assert len(modes) == 3
    assert set(modes.values()) == {0o644}


def test_prices_of_a_run_that_are_gone_are_replaced_with_a_warning(folder: PriceFolder, caplog: pytest.LogCaptureFixture) -> None:
    take(folder, with_price("gpt-4.1", "3"))
    folder.pin("exp-1", "0123456789abcdef")
    assert input_rate(folder, run="exp-1").startswith("3 ")
    assert "run exp-1 began with the prices 0123456789abcdef, which are gone" in caplog.text


def test_data_that_nothing_names_is_removed_after_a_day(folder: PriceFolder) -> None:
    digests = [take(folder, with_price("gpt-4.1", f"3.{number}")).edition.digest for number in range(5)]
    folder.pin("exp-1", digests[1])
    long_ago_s = time.time() - 100 * 86_400
    for path in folder.path.glob("data-*.json"):
        os.utime(path, (long_ago_s, long_ago_s))
    take(folder, with_price("gpt-4.1", "4"))
    kept = {path.stem.removeprefix("data-") for path in folder.path.glob("data-*.json")}
    assert digests[1] in kept
    assert digests[4] in kept
    assert not kept & {digests[0], digests[2], digests[3]}
    (pin,) = (folder.path / "runs").iterdir()
    os.utime(pin, (long_ago_s, long_ago_s))
    take(folder, with_price("gpt-4.1", "5"))
    assert not pin.exists()
    assert folder.edition("0" * 16) is None


def test_a_pin_that_cannot_be_written_or_read_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "prices").write_text("a file where the folder would be")
    folder = PriceFolder(tmp_path)
    folder.pin("exp-1", SHIPPED)
    assert folder.pinned("exp-1") is None
    with pytest.raises(PricesNotUpdated, match="cannot write"):
        take(folder, TEXT)
