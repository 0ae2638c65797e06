"""The record ``mutes`` of ``qrie_summary``: every rule by which findings are set aside, in one bounded item."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from qrie_dagster.errors import ConflictError
from qrie_dagster.mutes import Mute, Mutes
from qrie_dagster.store.dynamo import DynamoItem
from qrie_dagster.store.encoding import LARGEST, decode, encode
from qrie_dagster.store.summary import SummaryTable

MUTES = "mutes"
MAX_RULES = 500


def load_mutes(summary: SummaryTable) -> Mutes:
    """All rules, ended ones included, in one read."""
    record = summary.get(MUTES) or {}
    return Mutes(_rules(record), record.get("Version", 0))


def change_mutes(summary: SummaryTable, change: Callable[[Sequence[Mute]], Iterable[Mute]]) -> None:
    """Replace the rules by a function of what they are now, however many others do the same.

    Raises ConflictError when they would not fit.
    """

    def changed(record: DynamoItem) -> dict[str, Any]:
        rules = list(change(_rules(record)))
        encoded = encode([rule.model_dump(mode="json") for rule in rules])
        if len(rules) > MAX_RULES or len(encoded) > LARGEST:
            raise ConflictError(
                f"There is room for {MAX_RULES} mutes: remove some, or join them by a tag or an ARN pattern."
            )
        return {"Rules": encoded}

    summary.change(MUTES, changed)


def _rules(record: DynamoItem) -> tuple[Mute, ...]:
    return tuple(Mute(**rule) for rule in decode(record["Rules"])) if "Rules" in record else ()
