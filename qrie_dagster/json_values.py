"""Python values as JSON values."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any


def to_json(value: Any) -> Any:
    """``value`` as it would come back from JSON: times as ISO 8601, bytes as hexadecimal digits, sets sorted."""
    if isinstance(value, Mapping):
        return {str(key): to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    if isinstance(value, set | frozenset):
        # Sets come in another order in every process: evidence must not change by that.
        return sorted((to_json(inner) for inner in value), key=repr)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return value.hex()
    return value
