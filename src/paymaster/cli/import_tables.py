"""How the findings about another tool's config look as tables and as JSON; knows findings, and neither files nor tools."""

from collections.abc import Iterable, Sequence

from paymaster.cli.terminal import Cell, Column, Table
from paymaster.imports.findings import Finding, Outcome
from paymaster.registry.yamltext import KeyPath, dotted

_MEANINGS = {Outcome.CARRIED: "good", Outcome.CHANGED: "warn", Outcome.NO_COUNTERPART: "bad"}
_ORDER = (Outcome.NO_COUNTERPART, Outcome.CHANGED, Outcome.CARRIED)
_MOST_RANGES = 3


def summary(findings: Sequence[Finding]) -> str:
    """How many fields became what."""
    counts = [f"{sum(finding.outcome is outcome for finding in findings)} {words}" for outcome, words in _WORDS]
    return f"{len(findings)} fields: {', '.join(counts)}."


_WORDS = ((Outcome.CARRIED, "carried"), (Outcome.CHANGED, "changed"), (Outcome.NO_COUNTERPART, "without a counterpart"))


def finding_tables(findings: Sequence[Finding]) -> list[Table]:
    """A table for each outcome, what needs attention last. The same field of several entries with the same finding is one row."""
    titles = {Outcome.CARRIED: "Carried", Outcome.CHANGED: "Changed", Outcome.NO_COUNTERPART: "No counterpart"}
    heads = {Outcome.CARRIED: "in the registry", Outcome.CHANGED: "how", Outcome.NO_COUNTERPART: "instead"}
    return [
        Table(
            title=titles[outcome],
            columns=[Column("line"), Column("field"), Column(heads[outcome])],
            rows=[[line, Cell(name, _MEANINGS[outcome]), text] for line, name, text in _rows(findings, outcome)],
        )
        for outcome in reversed(_ORDER)
    ]


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """A sentence for each finding, for standard error."""
    return [f"{finding.file}:{finding.line}: {finding.field}: {finding.outcome}: {finding.text}".removesuffix(": ") for finding in findings]


def findings_json(findings: Iterable[Finding]) -> list[dict[str, object]]:
    """Every finding, for a program."""
    return [
        {
            "file": finding.file,
            "line": finding.line,
            "field": finding.field,
            "finding": finding.outcome.value,
            "registry": list(finding.targets),
            "detail": finding.detail,
        }
        for finding in findings
    ]


def _rows(findings: Sequence[Finding], outcome: Outcome) -> list[tuple[str, str, str]]:
    """Lines, field and text. Entries of a list are joined if only their numbers differ."""
    groups: dict[tuple[KeyPath, str], list[Finding]] = {}
    for finding in findings:
        if finding.outcome is outcome:
            text = finding.detail if len(finding.path) > 1 and isinstance(finding.path[1], int) else finding.text
            numberless = tuple("" if index == 1 and isinstance(part, int) else part for index, part in enumerate(finding.path))
            groups.setdefault((numberless, text), []).append(finding)
    return [(_lines(group), _field(group), text or (group[0].text if len(group) == 1 else "")) for (_, text), group in groups.items()]


def _lines(group: Sequence[Finding]) -> str:
    return str(group[0].line) if len(group) == 1 else f"{group[0].line}…"


def _field(group: Sequence[Finding]) -> str:
    path = group[0].path
    if len(group) == 1:
        return group[0].field
    numbers = [part for finding in group if isinstance(part := finding.path[1], int)]
    rest = dotted(path[2:])
    return f"{path[0]}[{_ranges(numbers)}]{'.' if rest and not rest.startswith('[') else ''}{rest}"


def _ranges(numbers: Sequence[int]) -> str:
    """`0-2, 5`; the count instead of what would be too long."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ", ".join(shown) if len(shown) <= _MOST_RANGES else f"{', '.join(shown[:_MOST_RANGES])}, … {len(numbers)} in all"
