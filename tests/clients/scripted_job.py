"""The job that the simulated endpoint asks of every client: read a file, read the file that it names, answer with the word in it.

Decides what to answer, from the request alone; knows no wire format and no time.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clients.requests_read import Asked, Tool

FIRST, SECOND, WORD = "first.txt", "second.txt", "heron"
FILES: Mapping[str, str] = {FIRST: f"Read {SECOND} next.\n", SECOND: f"The word is {WORD}.\n"}
"""What the working folder of a client holds."""

PROMPT = "Read {folder}/" + FIRST + ", then read the file that it names, in the same folder. Answer with the word in it."
MOST_CALLS = 4
"""A shell of a busy client loses an output now and then: it is asked again, as a model would."""
SLOW_TEXT = " ".join(f"word{number}" for number in range(400))
THOUGHT = "The files are read one after the other."

_SHELLS = re.compile(r"shell|bash|terminal|exec|run_?(terminal_?)?commands?|^commands?$|cmd", re.IGNORECASE)
_READERS = re.compile(r"(^|[._])(read|view|cat)([_A-Z]?files?)?$|^Read", re.IGNORECASE)
_ENDINGS = re.compile(
    r"attempt_completion|^finish$|final_answer|final_result|submit|task_done|^(Partial)?Answer$|StructuredOutput|^json(_tool)?$",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"command|cmd|script|^input$", re.IGNORECASE)
_PATH = re.compile(r"path|file", re.IGNORECASE)
_FOLDER = re.compile(r"workdir|cwd|dir|folder", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool. `arguments` is JSON text; for a `custom` tool plain text."""

    tool: Tool
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer: thoughts, a text, calls. Each may be empty."""

    thought: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()


def next_answer(asked: Asked, variant: str) -> Answer:
    """The next step of the job, in a variant of the endpoint."""
    if variant in ("slow", "cut"):
        return Answer(text=SLOW_TEXT)
    thought = THOUGHT if variant == "thinks" else ""
    tool, ending = pick(asked.tools, _SHELLS, _READERS), pick(asked.tools, _ENDINGS)
    folder = _folder(asked.text)
    if tool is not None and folder is not None:
        missing = [name for name, text in FILES.items() if not any(text.strip() in result for result in asked.results)]
        if missing and len(asked.results) >= MOST_CALLS:
            return Answer(thought, f"The content of {missing[0]} did not come back: {asked.results[-1][:200]}")
        if missing:
            wanted = missing if variant == "parallel" else missing[:1]
            return Answer(thought, calls=tuple(Call(tool, _arguments(tool, folder, name)) for name in wanted))
    if not asked.tools and asked.schema is None and folder is not None and (unread := _unread(asked.text)):
        return Answer(thought, f"Please add {unread} to the chat.")
    text = _final(asked)
    if ending is not None and asked.results:
        return Answer(thought, calls=(Call(ending, json.dumps(filled(ending.schema, lambda _: word_of(asked)))),))
    return Answer(thought, text)


def pick(tools: tuple[Tool, ...], *patterns: re.Pattern[str]) -> Tool | None:
    """The first tool whose name fits the first pattern, else the second."""
    return next((tool for pattern in patterns for tool in tools if pattern.search(tool.name)), None)


def word_of(asked: Asked) -> str:
    """What a field of a structured answer gets."""
    found = re.search(r"The word is (\w+)", " ".join(asked.results))
    return found[1] if found else WORD


def _final(asked: Asked) -> str:
    if asked.schema is not None:
        return json.dumps(filled(asked.schema, lambda _: word_of(asked)))
    shown = " ".join(asked.results) if asked.results else "" if asked.tools else asked.text
    found = re.search(r"The word is (\w+)", shown)
    return f"The word is {found[1]}." if found else "Ready."


def _unread(text: str) -> str | None:
    """A client without tools shows files in the chat when an answer names them: the next one that it has to show."""
    missing = [name for name, content in FILES.items() if content.strip() not in text]
    return missing[0] if missing else None


def _folder(text: str) -> str | None:
    found = re.search(r"(/[\w./-]+)/" + re.escape(FIRST), text)
    return found[1] if found else None


def _arguments(tool: Tool, folder: str, name: str) -> str:
    path = f"{folder}/{name}"
    command = f"cat {path}"
    if tool.kind == "custom":
        return command
    if tool.kind == "local_shell":
        return json.dumps({"type": "exec", "command": ["cat", path], "env": {}, "timeout_ms": 10_000, "working_directory": folder})

    def value(field: str) -> str:
        return command if _COMMAND.search(field) else path if _PATH.search(field) else folder if _FOLDER.search(field) else f"Reads {name}"

    return json.dumps(filled(tool.schema, value, wanted=_COMMAND if _SHELLS.search(tool.name) else _PATH))


def filled(schema: Mapping[str, Any], value: Callable[[str], str], field: str = "", wanted: re.Pattern[str] | None = None) -> Any:
    """A value that a schema allows: `value(field)` for texts, the first of several choices, 1 for numbers, False for booleans.

    Of an object, the required fields are filled, and those that `wanted` names if none of these is required.
    """
    options = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if options:
        return options[0]
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            return filled(next(each for each in schema[name] if each.get("type") != "null"), value, field, wanted)
    kind = schema.get("type")
    kind = next(each for each in kind if each != "null") if isinstance(kind, list) else kind
    match kind:
        case "string":
            return value(field)
        case "integer" | "number":
            return max(schema.get("minimum", 1), 1)
        case "boolean":
            return False
        case "array":
            items = schema.get("items") or {}
            if _COMMAND.search(field) and items.get("type") == "string" and not field.endswith("s"):
                return ["bash", "-c", value(field)]
            return [filled(items, value, field, wanted)]
        case _:
            properties = schema.get("properties") or {}
            required = [name for name in schema.get("required") or [] if name in properties]
            if wanted is not None and not any(wanted.search(name) for name in required):
                required += [name for name in properties if wanted.search(name)][:1]
            return {name: filled(properties[name], value, name, wanted) for name in required}
