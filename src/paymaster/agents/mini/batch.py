"""`paymaster mini-batch`: `mini-extra swebench` with its models under a registry; knows how a batch of mini's runs its instances.

| replaced in mini's module while it runs         | to                                                                         |
|-------------------------------------------------|----------------------------------------------------------------------------|
| `filter_instances`                              | know the instances that a signal kept from beginning                       |
| `process_instance`                              | attribute calls; begin no instance after a budget has ended the batch      |
| `ProgressTrackingAgent`                         | save the work of an agent that a limit or a refusal ends                   |
| `update_preds_file`, `remove_from_preds_file`   | write no prediction of an unfinished instance, and no half-written file    |
| `RunBatchProgressManager`                       | show the spending in the progress display                                  |
"""

import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from paymaster.agents.batch_client import BatchClient
from paymaster.agents.call_endings import ASKED_AGAIN, Ending, all_went_well, failure_lines, listed, summary_lines
from paymaster.agents.mini.command import DONE, FAILED, MiniCommand, PreparedCommand, call_mini, launch, replaced
from paymaster.agents.mini.saved_work import Agent, keep_work
from paymaster.agents.spend_summary import ProgressLine, is_per_instance, resume_flags, with_next_steps
from paymaster.agents.stderr import write_stderr
from paymaster.agents.stop_signals import Stop, raise_stop, stopping_batch
from paymaster.errors import BudgetExceeded, PaymasterError, UsageMistake
from paymaster.scope import Scope

if TYPE_CHECKING:
    from paymaster.agents.mini.model import PaymasterModel

_BATCH = MiniCommand(
    "minisweagent.run.benchmarks.swebench",
    "mini-extra swebench",
    "mini-batch",
    "model",
    agent="default",
    environment="docker",
    batched=True,
)
_PREDICTIONS = "preds.json"


def main(args: Sequence[str]) -> int:
    """Run `mini-extra swebench` with these arguments and return the exit status.

    0: every instance was done; 1: no model answered for some, or none had an answer; 2: wrong flags; 143: SIGTERM. Raises PaymasterError
    (for BudgetExceeded the message has the next steps), and KeyboardInterrupt after Ctrl-C.
    """
    return launch(_BATCH, args, _run)


class _Batch:
    """The instances of this process: which began, and how each ended.

    `stopped_by` is the refusal of a budget that is wider than one instance: after it no instance begins, and those that have begun continue
    as long as the budget allows their calls.
    """

    def __init__(self, prepared: PreparedCommand) -> None:
        self._client = prepared.client
        self._scope = prepared.client.current_scope
        self._requested: list[str] = []
        self._begun: dict[str, None] = {}
        self._models: dict[str, PaymasterModel] = {}
        self._not_begun: list[str] = []
        self._stopped: set[str] = set()
        self._cut_off: set[str] = set()
        self._files = threading.Lock()
        self.progress_line = ProgressLine(lambda: prepared.summary.progress(prepared.client))
        self.stopped_by: BudgetExceeded | None = None
        self.stop = Stop()

    def remember(self, find: Callable[..., list[dict[str, object]]]) -> Callable[..., list[dict[str, object]]]:
        """`filter_instances`, whose result is kept."""

        def find_and_remember(*args: object, **keys: object) -> list[dict[str, object]]:
            found = find(*args, **keys)
            self._requested = [str(instance["instance_id"]) for instance in found]
            return found

        return find_and_remember

    def begin(self, process: Callable[..., None]) -> Callable[..., None]:
        """`process_instance`, in the scope of its instance."""

        def begin(instance: Mapping[str, object], *args: object) -> None:
            name = str(instance["instance_id"])
            if self.stopped_by is not None:
                self._not_begun.append(name)
                return
            self._begun[name] = None
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
                except KeyboardInterrupt:
                    self._cut_off.add(instance_id)
                    raise
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

    def endings(self, parameters: Mapping[str, object]) -> dict[str, Ending]:
        """How each instance ended that had no result before this start."""
        done_before = set() if parameters.get("redo_existing") else set(_predictions(parameters))
        never = dict.fromkeys(name for name in self._requested if name not in done_before)
        return {**dict.fromkeys([*never, *self._not_begun], Ending.NOT_BEGUN), **{name: self._ending(name) for name in self._begun}}

    @property
    def failures(self) -> dict[str, PaymasterError]:
        """The errors that ended instances, other than those of budgets."""
        return {name: model.failure for name, model in self._models.items() if model.failure is not None}

    @property
    def answers(self) -> int:
        """The answers of all instances."""
        return sum(model.answers for model in self._models.values())

    def _note_refusal(self, model: "PaymasterModel", instance: str) -> None:
        refusal = model.stopped_by
        if refusal is not None and not is_per_instance(self._client, instance, refusal):
            self.stopped_by = self.stopped_by or refusal
            self._stopped.add(instance)

    def _is_unfinished(self, instance: str) -> bool:
        return self._ending(instance) in ASKED_AGAIN

    def _ending(self, instance: str) -> Ending:
        model = self._models.get(instance)
        if instance in self._cut_off or (model is None and self.stop.at_once):
            return Ending.CUT_OFF
        if model is None:  # its environment did not start; mini counts the instance as done
            return Ending.FAILED
        return Ending.NOT_BEGUN if instance in self._stopped and not model.answers else model.ending


def _run(prepared: PreparedCommand) -> int:
    batch, mini = _Batch(prepared), prepared.module
    _check(prepared.parameters)
    with (
        stopping_batch(_end_calls_of(prepared)) as batch.stop,
        _without_our_tracebacks(mini.logger),
        replaced(
            mini,
            filter_instances=batch.remember(mini.filter_instances),
            process_instance=batch.begin(mini.process_instance),
            ProgressTrackingAgent=batch.make_agent(mini.ProgressTrackingAgent),
            update_preds_file=batch.keep_predictions(mini.update_preds_file),
            remove_from_preds_file=batch.atomic(mini.remove_from_preds_file),
            RunBatchProgressManager=_with_line(mini.RunBatchProgressManager, batch.progress_line),
        ),
        suppress(KeyboardInterrupt),
    ):  # after a second signal; after the first, mini returns as usual
        call_mini(prepared, prepared.parameters)
    return _finish(batch, prepared)


def _end_calls_of(prepared: PreparedCommand) -> Callable[[], None]:
    client = prepared.client
    return client.end_calls if isinstance(client, BatchClient) else lambda: None


def _check(parameters: Mapping[str, object]) -> None:
    """Look for mistakes that mini would report late or not at all. Raises UsageMistake."""
    workers, pattern = parameters.get("workers"), str(parameters.get("filter_spec") or "")
    if isinstance(workers, int) and workers < 1:
        raise UsageMistake(f"-w {workers}: at least one worker is needed")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageMistake(f"--filter {pattern!r} is not a regular expression: {error}") from error
    _predictions(parameters)


def _predictions(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """The predictions in the output directory, by instance. Raises UsageMistake."""
    path = Path(str(parameters.get("output") or "")) / _PREDICTIONS
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UsageMistake(f"{path} can't be read: {error}", advice="Name another directory with -o, or move the file away.") from error
    if not isinstance(known, dict):
        raise UsageMistake(f"{path} is not a file of predictions", advice="Name another directory with -o.")
    return known


def _finish(batch: _Batch, prepared: PreparedCommand) -> int:
    """The exit status of the batch. Raises BudgetExceeded if a hard budget ended it, KeyboardInterrupt if Ctrl-C did."""
    scope, interrupted = prepared.client.current_scope, batch.interrupted()
    endings = batch.endings(prepared.parameters)
    for line in (*summary_lines(endings), *failure_lines(batch.failures, endings)):
        write_stderr(line)
    if batch.stop.number is not None:
        raise_stop(batch.stop, f"To do the rest: the same command with {resume_flags(scope)}")
    if batch.stopped_by is not None:
        raise with_next_steps(batch.stopped_by, "\n".join(_after_a_budget(endings, interrupted, scope)))
    if interrupted:
        write_stderr(f"Ended by a budget per instance, with the work so far in preds.json: {', '.join(interrupted)}.")
    if unfinished := _unfinished(endings):
        write_stderr(f"No model answered for {listed(unfinished)}: the same command with {resume_flags(scope)} does them again.")
    elif not batch.answers and endings:
        again = f"the same command with {resume_flags(scope)} --redo-existing"
        write_stderr(f"No instance had an answer. To ask again, once the cause is fixed: {again}")
    return DONE if all_went_well(endings, answers=batch.answers) else FAILED


def _unfinished(endings: Mapping[str, Ending]) -> list[str]:
    return sorted(name for name, ending in endings.items() if ending in ASKED_AGAIN)


def _after_a_budget(endings: Mapping[str, Ending], interrupted: Sequence[str], scope: Scope) -> Iterator[str]:
    if interrupted:
        names = "|".join(re.escape(name).replace(r"\-", "-") for name in interrupted)
        redo = f"--redo-existing --filter '^({names})$'"
        yield f"Interrupted, with the work so far in preds.json: {', '.join(interrupted)}. To redo them: {redo}"
    if unfinished := _unfinished(endings):
        yield f"Not begun, to be done by the next start: {', '.join(unfinished)}."
    report = f"paymaster report --by instance --run-id {scope.run}"
    yield f"To continue: the same command with a larger budget and {resume_flags(scope)}. Where the money went: {report}"


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
