"""The events file has whole lines from any number of writers, is private, and survives a failing disk."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from paymaster.errors import UsageMistake
from paymaster.redaction import Redactor
from paymaster.scope import Scope
from paymaster.telemetry.fanout import Fanout
from paymaster.telemetry.jsonlines import EventFile, default_path

WRITER = """
import sys, threading
from pathlib import Path
from paymaster.flow.events import FellBack
from paymaster.scope import Scope
from paymaster.telemetry.jsonlines import EventFile

path, process, threads, count = Path(sys.argv[1]), *map(int, sys.argv[2:])
file = EventFile(path)

def write(thread):
    for number in range(count):
        common = dict(at_ms=number, call_id=f"{process}.{thread}.{number}", scope=Scope(run="r"))
        file(FellBack(**common, model="a", to_model="b", reason="x" * (number * 37 % 3000)))

workers = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
assert file.lost_events == 0
"""


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_of_many_threads_and_processes_stay_whole(tmp_path):
    path = tmp_path / "new" / "run.jsonl"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(process), "4", "200"]) for process in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    written = [line["call_id"] for line in lines(path)]
    assert sorted(written) == sorted(f"{p}.{t}.{n}" for p in range(4) for t in range(4) for n in range(200))
    for process in range(4):
        for thread in range(4):
            mine = [name for name in written if name.startswith(f"{process}.{thread}.")]
            assert mine == [f"{process}.{thread}.{number}" for number in range(200)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_even_if_its_parent_held_the_lock(tmp_path, events):
    file = EventFile(tmp_path / "run.jsonl")
    file(events["admitted"])
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with file._lock:
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(30)
    child = os.fork()
    if child == 0:
        file(events["settled"])
        os._exit(0 if file.lost_events == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    leave.set()
    holder.join(30)
    file(events["fallback"])
    file.close()
    assert [line["event"] for line in lines(tmp_path / "run.jsonl")] == ["admitted", "settled", "fallback"]


def test_the_first_event_creates_a_private_file_and_folder(tmp_path, events):
    path = tmp_path / "state" / "events" / "run.jsonl"
    file = EventFile(path)
    assert not path.parent.exists()
    file(events["admitted"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    file.close()


def test_a_file_that_exists_is_appended_to_and_a_closed_one_opens_again(tmp_path, events):
    path = tmp_path / "run.jsonl"
    for _ in range(2):
        file = EventFile(path)
        file.close()
        file(events["admitted"])
        file.close()
        file(events["settled"])
        file.close()
    assert [line["event"] for line in lines(path)] == ["admitted", "settled"] * 2


def test_secrets_stay_out_of_the_file(tmp_path, events):
    file = EventFile(tmp_path / "run.jsonl", Redactor(["canary-0123456789"]))
    file(replace(events["failed"], message="invalid key canary-0123456789"))
    file.close()
    assert lines(file.path)[0]["message"] == "invalid key [redacted]"


def test_a_path_that_cannot_be_written_loses_events_and_is_logged_once(tmp_path, events, caplog):
    (tmp_path / "file").write_text("not a folder")
    file = EventFile(tmp_path / "file" / "run.jsonl")
    with caplog.at_level(logging.WARNING, "paymaster"):
        file(events["admitted"])
        file(events["settled"])
    assert file.lost_events == 2
    assert len(caplog.records) == 1
    assert str(file.path) in caplog.text


def test_prepare_raises_for_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageMistake, match=r"can't write events to .*run\.jsonl.*\n.*--events"):
        EventFile(tmp_path / "file" / "run.jsonl").prepare()
    good = EventFile(tmp_path / "events" / "run.jsonl")
    good.prepare()
    assert good.path.is_file()
    good.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_loses_events_and_not_the_call(events):
    file = EventFile(Path("/dev/full"))
    file(events["admitted"])
    assert file.lost_events == 1
    file.close()


FILLER = """
import resource, sys
from pathlib import Path
from paymaster.flow.events import BreakerClosed
from paymaster.scope import Scope
from paymaster.telemetry.jsonlines import EventFile

file, (_, most) = EventFile(Path(sys.argv[1])), resource.getrlimit(resource.RLIMIT_FSIZE)

def emit(model):
    file(BreakerClosed(at_ms=0, call_id="c", scope=Scope(run="r"), model=model))

resource.setrlimit(resource.RLIMIT_FSIZE, (40, most))
emit("cut")
emit("lost")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
emit("next")
emit("last")
assert file.lost_events == 2
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no limit on a file's size")
def test_after_a_line_that_a_full_disk_cut_the_next_starts_on_a_new_line(tmp_path):
    path = tmp_path / "run.jsonl"
    subprocess.run([sys.executable, "-c", FILLER, str(path)], check=True, timeout=60)
    cut, *whole = path.read_text(encoding="utf-8").splitlines()
    assert len(cut) == 40
    assert [json.loads(line)["model"] for line in whole] == ["next", "last"]


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("exp-42", "exp-42.jsonl"),
        ("2026-11-23T08.30_a", "2026-11-23T08.30_a.jsonl"),
    ],
)
def test_an_ordinary_run_id_is_the_file_name(tmp_path, run, name):
    assert default_path(tmp_path, run) == tmp_path / "events" / name


def test_any_other_run_id_gets_a_unique_name_inside_the_folder(tmp_path):
    runs = ["../../etc/passwd", "a/b", "a b", "a:b", "a_b", "..", ".", "", ".hidden", "naïve", "x" * 300, "x" * 301, "a\0b", "a\udce9b"]
    paths = [default_path(tmp_path, run) for run in runs]
    assert len(set(paths)) == len(runs)
    for path in paths:
        assert path.resolve().parent == (tmp_path / "events").resolve()
        assert not path.name.startswith(".")
        assert len(path.name) < 130


def test_events_of_runs_with_odd_names_can_be_written(tmp_path, events):
    for run in ("../up", "a\udce9b", "x" * 300):
        file = EventFile(default_path(tmp_path, run))
        file(replace(events["admitted"], scope=Scope(run=run)))
        assert file.lost_events == 0
        file.close()


def test_every_sink_gets_every_event_in_order(events):
    first, second = [], []
    emit = Fanout(first.append, second.append)
    for event in events.values():
        emit(event)
    assert first == second == list(events.values())


def test_a_sink_that_raises_is_reported_once_and_does_not_affect_others(events, caplog):
    received = []

    def broken(event) -> None:
        raise KeyError(event.kind)

    emit = Fanout(broken, received.append)
    with caplog.at_level(logging.WARNING, "paymaster"):
        for event in events.values():
            emit(event)
    assert received == list(events.values())
    assert len(caplog.records) == 1
