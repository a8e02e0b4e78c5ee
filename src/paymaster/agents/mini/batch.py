"""`paymaster mini-batch`: `mini-extra swebench` with its models under a registry; knows how a batch of mini's runs its instances.

| replaced in mini's module while it runs         | to                                                                         |
|-------------------------------------------------|----------------------------------------------------------------------------|
| `process_instance`                              | attribute calls; begin no instance after a budget has ended the batch      |
| `ProgressTrackingAgent`                         | save the work of an agent that a limit ends                                |
| `update_preds_file`, `remove_from_preds_file`   | write no prediction of an unfinished instance, and no half-written file    |
| `RunBatchProgressManager`                       | show the spending in the progress display                                  |
"""

import json
import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.agents.mini.command import DONE, FAILED, MiniCommand, PreparedCommand, call_mini, launch, replaced
from paymaster.agents.mini.saved_work import Agent, keep_work
from paymaster.agents.spend_summary import ProgressLine, is_per_instance, resume_flags, with_next_steps
from paymaster.agents.stderr import write_stderr
from paymaster.errors import BudgetExceeded, DeadlineExceeded, LedgerUnavailable, NoModelAvailable, PaymasterError, UsageMistake

if TYPE_CHECKING:
    from paymaster.agents.mini.model import PaymasterModel

_BATCH = MiniCommand(
    "minisweagent.run.benchmarks.swebench", "mini-extra swebench", "mini-batch", "model", agent="default", environment="docker"
)
_PREDICTIONS = "preds.json"
_TEMPORARY = (NoModelAvailable, DeadlineExceeded, LedgerUnavailable)
"""Errors that say nothing about an instance: it is done again when the batch is started again."""


def main(args: Sequence[str]) -> int:
    """Run `mini-extra swebench` with these arguments and return the exit status.

    0: every instance was done; 1: no model answered for some; 2: wrong flags. Raises PaymasterError (for BudgetExceeded the message has the
    next steps), and KeyboardInterrupt after Ctrl-C.
    """
    return launch(_BATCH, args, _run)


class _Batch:
    """The instances of this process: which began, which a budget interrupted, and which are unfinished.

    `stopped_by` is the refusal of a budget that is wider than one instance: after it no instance begins, and those that have begun continue
    as long as the budget allows their calls.
    """

    def __init__(self, prepared: PreparedCommand) -> None:
        self._client = prepared.client
        self._scope = prepared.client.current_scope
        self._models: dict[str, PaymasterModel] = {}
        self._not_begun: list[str] = []
        self._stopped: set[str] = set()
        self._files = threading.Lock()
        self.progress_line = ProgressLine(lambda: prepared.summary.progress(prepared.client))
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
                self.progress_line.refresh()

        return begin

    def make_agent(self, make: Callable[..., Agent]) -> Callable[..., Agent]:
        """`ProgressTrackingAgent`, which makes no call if it had no answer before the batch was stopped."""

        def make_agent(model: "PaymasterModel", env: object, *, instance_id: str, **keys: object) -> Agent:
            agent = make(model, env, instance_id=instance_id, **keys)
            self._models[instance_id] = model
            original_query = agent.query

            def query() -> object:
                try:
                    if self.stopped_by is not None and not model.answers:
                        raise model.end_run(self.stopped_by)
                    return original_query()
                finally:
                    self._note_refusal(model, instance_id)

            agent.query = query
            keep_work(agent)
            return agent

        return make_agent

    def keep_predictions(self, update: Callable[..., None]) -> Callable[..., None]:
        """`update_preds_file`, but not for an unfinished instance."""

        def keep(output_path: Path, instance_id: str, *args: object) -> None:
            if not self._is_unfinished(instance_id):
                self.atomic(update)(output_path, instance_id, *args)

        return keep

    def atomic(self, change: Callable[..., None]) -> Callable[..., None]:
        """An atomic change of the file of predictions: mini changes a copy, which then replaces the file."""

        def changed(output_path: Path, *args: object) -> None:
            copy = output_path.with_name(f".{output_path.name}.{os.getpid()}")
            with self._files:
                if output_path.exists():
                    shutil.copyfile(output_path, copy)
                change(copy, *args)
                with suppress(FileNotFoundError):
                    copy.replace(output_path)

        return changed

    def interrupted(self) -> list[str]:
        """Instances that a budget ended after their first answer."""
        return sorted(name for name, model in self._models.items() if model.stopped_by is not None and model.answers)

    def unfinished(self) -> list[str]:
        """Instances without a prediction."""
        return sorted([*self._not_begun, *filter(self._is_unfinished, self._models)])

    def _note_refusal(self, model: "PaymasterModel", instance: str) -> None:
        refusal = model.stopped_by
        if refusal is not None and not is_per_instance(self._client, instance, refusal):
            self.stopped_by = self.stopped_by or refusal
            self._stopped.add(instance)

    def _is_unfinished(self, instance: str) -> bool:
        model = self._models.get(instance)
        if model is None:  # its environment did not start; mini counts the instance as done
            return False
        never_began = instance in self._stopped and not model.answers
        return never_began or isinstance(model.failure, _TEMPORARY)


def _run(prepared: PreparedCommand) -> int:
    batch, mini = _Batch(prepared), prepared.module
    _check(prepared.parameters)
    with (
        _noticing_ctrl_c() as interrupted,
        _without_our_tracebacks(mini.logger),
        replaced(
            mini,
            process_instance=batch.begin(mini.process_instance),
            ProgressTrackingAgent=batch.make_agent(mini.ProgressTrackingAgent),
            update_preds_file=batch.keep_predictions(mini.update_preds_file),
            remove_from_preds_file=batch.atomic(mini.remove_from_preds_file),
            RunBatchProgressManager=_with_line(mini.RunBatchProgressManager, batch.progress_line),
        ),
    ):
        call_mini(prepared, prepared.parameters)
    if interrupted.is_set():
        raise KeyboardInterrupt
    return _finish(batch, prepared)


def _check(parameters: Mapping[str, object]) -> None:
    """Look for mistakes that mini would report late or not at all. Raises UsageMistake."""
    workers, pattern = parameters.get("workers"), str(parameters.get("filter_spec") or "")
    if isinstance(workers, int) and workers < 1:
        raise UsageMistake(f"-w {workers}: at least one worker is needed")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageMistake(f"--filter {pattern!r} is not a regular expression: {error}") from error
    path = Path(str(parameters.get("output") or "")) / _PREDICTIONS
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UsageMistake(f"{path} can't be read: {error}", advice="Name another directory with -o, or move the file away.") from error
    if not isinstance(known, dict):
        raise UsageMistake(f"{path} is not a file of predictions", advice="Name another directory with -o.")


def _finish(batch: _Batch, prepared: PreparedCommand) -> int:
    """The exit status of the batch. Raises BudgetExceeded if a hard budget ended it."""
    scope, interrupted, unfinished = prepared.client.current_scope, batch.interrupted(), batch.unfinished()
    report = f"paymaster report --by instance --run-id {scope.run}"
    if batch.stopped_by is not None:
        steps = [f"To continue: the same command with a larger budget and {resume_flags(scope)}. Where the money went: {report}"]
        if unfinished:
            steps.insert(0, f"Not begun, to be done by the next start: {', '.join(unfinished)}.")
        if interrupted:
            names = "|".join(re.escape(name).replace(r"\-", "-") for name in interrupted)
            redo = f"--redo-existing --filter '^({names})$'"
            steps.insert(0, f"Interrupted, with the work so far in preds.json: {', '.join(interrupted)}. To redo them: {redo}")
        raise with_next_steps(batch.stopped_by, "\n".join(steps))
    if interrupted:
        write_stderr(f"Ended by a budget per instance, with the work so far in preds.json: {', '.join(interrupted)}.")
    if unfinished:
        write_stderr(f"No model answered for {', '.join(unfinished)}: the same command with {resume_flags(scope)} does them again.")
        return FAILED
    return DONE


@contextmanager
def _noticing_ctrl_c() -> Iterator[threading.Event]:
    """Remember that Ctrl-C was pressed: after it mini begins no instance, and returns as usual."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def notice(_number: int, _frame: object) -> None:
        pressed.set()
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, notice)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _without_our_tracebacks(logger: logging.Logger) -> Iterator[None]:
    """Log Paymaster's errors as messages in mini's log. The trajectory has the traceback."""

    def without_traceback(record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], PaymasterError):
            record.exc_info = None
        return True

    logger.addFilter(without_traceback)
    try:
        yield
    finally:
        logger.removeFilter(without_traceback)


def _with_line(make_display: Callable[..., object], line: ProgressLine) -> Callable[..., object]:
    """A progress display of mini's display with the line below it."""

    def make(*args: object, **keys: object) -> object:
        display = make_display(*args, **keys)
        line.add_to(display)
        return display

    return make
