"""Findings in the formats of other tools, written row by row.

Each writer yields at least once, and only after it has seen the first row.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import chain, islice
from typing import Any, TypeAlias, TypeVar

from qrie_dagster.dashboard.answers import FindingRow
from qrie_dagster.dashboard.ocsf import compliance_finding
from qrie_dagster.dashboard.sarif import SARIF_TAIL, sarif_head, sarif_result
from qrie_dagster.policies.policy import Policy

T = TypeVar("T")
# By id, as they are launched: with the severity and the remediation that people gave them.
Policies: TypeAlias = Mapping[str, Policy]

COLUMNS = (
    "arn",
    "policy",
    "severity",
    "severity_band",
    "state",
    "account_id",
    "service",
    "first_seen",
    "last_evaluated",
    "resolved_at",
    "resolved_reason",
    "muted",
    "mute_reason",
    "evidence",
)
# What a spreadsheet takes for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
ROWS_AT_ONCE = 200


@dataclass(frozen=True)
class Format:
    """A file format and how to write it."""

    media_type: str
    suffix: str
    write: Callable[[Iterable[FindingRow], Policies], Iterator[str]]


def write_csv(rows: Iterable[FindingRow], _policies: Policies) -> Iterator[str]:
    """One line per finding, evidence as JSON. A cell that a spreadsheet would run is preceded by an apostrophe."""
    head: list[str] = list(COLUMNS)
    for batch in _batches(rows):
        text = StringIO()
        writer = csv.writer(text)
        if head:
            writer.writerow(head)
            head = []
        writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in batch)
        yield text.getvalue()


def _cell(value: Any) -> str:
    text = "" if value is None else dumps(value) if isinstance(value, dict | bool) else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def write_json(rows: Iterable[FindingRow], _policies: Policies) -> Iterator[str]:
    """An array of findings as the API shows them."""
    return _array("[", (row.model_dump(mode="json") for row in rows), "]\n")


def write_ocsf(rows: Iterable[FindingRow], policies: Policies) -> Iterator[str]:
    """An array of OCSF Compliance Findings."""
    return _array("[", (compliance_finding(row, policies.get(row.policy)) for row in rows), "]\n")


def write_sarif(rows: Iterable[FindingRow], policies: Policies) -> Iterator[str]:
    """A SARIF log of one run."""
    return _array(sarif_head(policies.values()), map(sarif_result, rows), SARIF_TAIL)


def _array(head: str, values: Iterable[Any], tail: str) -> Iterator[str]:
    separator = ""
    for batch in _batches(values):
        text = ",\n".join(map(dumps, batch))
        yield head + (separator + text if text else "")
        head, separator = "", ",\n"
    yield tail


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    """``values`` a few hundred at a time; one empty batch if there are none."""
    rest = iter(values)
    first = list(islice(rest, ROWS_AT_ONCE))
    batches = iter(lambda: list(islice(rest, ROWS_AT_ONCE)), [])
    return chain([first], batches)


def dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


FORMATS = {
    "csv": Format("text/csv; charset=utf-8", "csv", write_csv),
    "json": Format("application/json", "json", write_json),
    "ocsf": Format("application/json", "ocsf.json", write_ocsf),
    "sarif": Format("application/sarif+json", "sarif", write_sarif),
}
