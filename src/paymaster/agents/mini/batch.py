"""`paymaster mini-batch`: `mini-extra swebench` with its models under a registry; knows how a batch of mini's runs its instances.

| replaced in mini's module while it runs         | for                                                                        |
|-------------------------------------------------|----------------------------------------------------------------------------|
| `process_instance`                              | who calls; and that none begins once a budget has ended the batch          |
| `ProgressTrackingAgent`                         | the work of an agent that a limit ends                                     |
| `update_preds_file`, `remove_from_preds_file`   | no prediction of an instance that is still to be done; no half-written file |
| `RunBatchProgressManager`                       | a line for money in the progress display                                   |
"""

import json
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.agents.mini.process import DONE, FAILED, Program, Start, call_mini, launch, replaced
from paymaster.agents.mini.saved_work import Agent, keep_work
from paymaster.agents.spend_summary import is_of_instance, same_account, with_way_on
from paymaster.errors import BudgetExceeded, DeadlineExceeded, LedgerUnavailable, NoModelAvailable, PaymasterError, UsageMistake

if TYPE_CHECKING:
    from rich.text import Text

    from paymaster.agents.mini.model import PaymasterModel

_BATCH = Program(
    "minisweagent.run.benchmarks.swebench", "mini-extra swebench", "mini-batch", "model", agent="default", environment="docker"
)
_PREDICTIONS = "preds.json"
_PASSING = (NoModelAvailable, DeadlineExceeded, LedgerUnavailable)
"""What ends an instance without saying anything about it: it is done again when the batch is started again."""


def main(args: Sequence[str]) -> int:
    """Run `mini-extra swebench` with these words and return the exit status.

    0: every instance was done; 1: some could not be, because no model answered; 2: a mistake in mini's flags. Raises PaymasterError,
    BudgetExceeded among them: its message says how to go on; and KeyboardInterrupt after Ctrl-C.
    """
    return launch(_BATCH, args, _run)


class _Batch:
    """The instances of this process: which began, which of them a budget cut off, which are still to be done.

    `stopped_by` is the refusal of a budget that is wider than one instance: from then on none begins, and those that have begun go on for
    as long as the budget pays for them.
    """

    def __init__(self, start: Start) -> None:
        self._client = start.client
        self._scope = start.client.current_scope
        self._models: dict[str, PaymasterModel] = {}
        self._not_begun: list[str] = []
        self._stopped: set[str] = set()
        self._files = threading.Lock()
        self.money = _MoneyLine(start)
        self.stopped_by: BudgetExceeded | None = None

    def begin(self, process: Callable[..., None]) -> Callable[..., None]:
        """`process_instance`, in the scope of its instance."""

        def begin(instance: Mapping[str, object], *args: object) -> None:
            name = str(instance["instance_id"])
            if self.stopped_by is not None:
                self._not_begun.append(name)
                return
            try:
                with self._client.scope(batch=self._scope.batch or self._scope.run, instance=name):
                    process(instance, *args)
            finally:
                self.money.renew()

        return begin

    def make_agent(self, make: Callable[..., Agent]) -> Callable[..., Agent]:
        """The agent of an instance, which asks for nothing more where it had no answer before the batch was stopped."""

        def make_agent(model: "PaymasterModel", env: object, *, instance_id: str, **keys: object) -> Agent:
            agent = make(model, env, instance_id=instance_id, **keys)
            self._models[instance_id] = model
            ask = agent.query

            def query() -> object:
                try:
                    if self.stopped_by is not None and not model.answers:
                        raise model.refuse(self.stopped_by)
                    return ask()
                finally:
                    self._look_at(model, instance_id)

            agent.query = query
            keep_work(agent)
            return agent

        return make_agent

    def keep_predictions(self, update: Callable[..., None]) -> Callable[..., None]:
        """`update_preds_file`, but not for an instance that is still to be done."""

        def keep(output_path: Path, instance_id: str, *args: object) -> None:
            if not self._is_to_be_done(instance_id):
                self.whole(update)(output_path, instance_id, *args)

        return keep

    def whole(self, change: Callable[..., None]) -> Callable[..., None]:
        """A change of the file of predictions that a process may die in at any moment: mini writes a copy, which then takes its place."""

        def changed(output_path: Path, *args: object) -> None:
            copy = output_path.with_name(f".{output_path.name}.{os.getpid()}")
            with self._files:
                if output_path.exists():
                    shutil.copyfile(output_path, copy)
                change(copy, *args)
                with suppress(FileNotFoundError):
                    copy.replace(output_path)

        return changed

    def cut_off(self) -> list[str]:
        """Instances that a budget ended with a part of their work done."""
        return sorted(name for name, model in self._models.items() if model.stopped_by is not None and model.answers)

    def to_be_done(self) -> list[str]:
        """Instances that left no prediction."""
        return sorted([*self._not_begun, *filter(self._is_to_be_done, self._models)])

    def _look_at(self, model: "PaymasterModel", instance: str) -> None:
        refusal = model.stopped_by
        if refusal is not None and not is_of_instance(self._client, instance, refusal):
            self.stopped_by = self.stopped_by or refusal
            self._stopped.add(instance)

    def _is_to_be_done(self, instance: str) -> bool:
        model = self._models.get(instance)
        if model is None:  # its environment did not start, which mini counts as its end
            return False
        never_began = instance in self._stopped and not model.answers
        return never_began or isinstance(model.failure, _PASSING)


def _run(start: Start) -> int:
    batch, mini = _Batch(start), start.module
    _check(start.parameters)
    with (
        _noticing_ctrl_c() as interrupted,
        _without_our_tracebacks(mini.logger),
        replaced(
            mini,
            process_instance=batch.begin(mini.process_instance),
            ProgressTrackingAgent=batch.make_agent(mini.ProgressTrackingAgent),
            update_preds_file=batch.keep_predictions(mini.update_preds_file),
            remove_from_preds_file=batch.whole(mini.remove_from_preds_file),
            RunBatchProgressManager=_with_money_line(mini.RunBatchProgressManager, batch.money),
        ),
    ):
        call_mini(start, start.parameters)
    if interrupted.is_set():
        raise KeyboardInterrupt
    return _judge(batch, start)


def _check(parameters: Mapping[str, object]) -> None:
    """Look for mistakes that mini would meet after it has loaded its instances, or not name. Raises UsageMistake."""
    workers, pattern = parameters.get("workers"), str(parameters.get("filter_spec") or "")
    if isinstance(workers, int) and workers < 1:
        raise UsageMistake(f"-w {workers}: there must be one worker at least")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageMistake(f"--filter {pattern!r} is no regular expression: {error}") from error
    path = Path(str(parameters.get("output") or "")) / _PREDICTIONS
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UsageMistake(f"{path} can't be read: {error}", advice="Name another directory with -o, or move the file away.") from error
    if not isinstance(known, dict):
        raise UsageMistake(f"{path} holds no predictions", advice="Name another directory with -o.")


def _judge(batch: _Batch, start: Start) -> int:
    """How the batch ended. Raises BudgetExceeded where a hard budget ended it."""
    scope, cut_off, left = start.client.current_scope, batch.cut_off(), batch.to_be_done()
    where = f"paymaster report --by instance --run-id {scope.run}"
    if batch.stopped_by is not None:
        way_on = [f"To go on: the same command with a larger budget and {same_account(scope)}. Where the money went: {where}"]
        if left:
            way_on.insert(0, f"Not begun, and left for the next start: {', '.join(left)}.")
        if cut_off:
            names = "|".join(re.escape(name).replace(r"\-", "-") for name in cut_off)
            again = f"--redo-existing --filter '^({names})$'"
            way_on.insert(0, f"Cut off, with the work so far in preds.json: {', '.join(cut_off)}. To do them anew: {again}")
        raise with_way_on(batch.stopped_by, "\n".join(way_on))
    if cut_off:
        sys.stderr.write(f"Ended by a budget of their own, with the work so far in preds.json: {', '.join(cut_off)}.\n")
    if left:
        sys.stderr.write(f"No model answered for {', '.join(left)}: the same command with {same_account(scope)} does them again.\n")
        return FAILED
    return DONE


@contextmanager
def _noticing_ctrl_c() -> Iterator[threading.Event]:
    """Remember that Ctrl-C was pressed: mini then begins no more instances, and ends as if nothing had happened."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def notice(_number: int, _frame: object) -> None:
        pressed.set()
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGINT, notice)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, former)


@contextmanager
def _without_our_tracebacks(logger: logging.Logger) -> Iterator[None]:
    """In mini's log an error of Paymaster's is its message. The trajectory has the traceback."""

    def without_traceback(record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], PaymasterError):
            record.exc_info = None
        return True

    logger.addFilter(without_traceback)
    try:
        yield
    finally:
        logger.removeFilter(without_traceback)


class _MoneyLine:
    """A line that rich asks for whenever it draws the display; the ledger is asked once a second."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._text = ""
        self._until = 0.0

    def renew(self) -> None:
        """Ask the ledger when it is drawn next: the last line of a batch is to be true to the cent."""
        self._until = 0.0

    def __rich__(self) -> "Text":
        from rich.text import Text

        if time.monotonic() >= self._until:
            with suppress(LedgerUnavailable):  # a display is no reason to end a batch
                self._text = self._start.summary.progress(self._start.client)
            self._until = time.monotonic() + 1
        return Text(f"Paymaster: {self._text}")


def _with_money_line(make: Callable[..., object], money: _MoneyLine) -> Callable[..., object]:
    """The progress display of mini with a line below it. Where the display has changed, it is left alone."""

    def make_with_money_line(*args: object, **keys: object) -> object:
        progress = make(*args, **keys)
        shown = getattr(getattr(progress, "render_group", None), "renderables", None)
        if isinstance(shown, list):
            shown.append(money)
        return progress

    return make_with_money_line
