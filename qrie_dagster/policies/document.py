"""Reading AWS policy documents, as far as the policies need it."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from qrie_dagster.models import UnknownFactError

Statement: TypeAlias = Mapping[str, Any]


def allow_statements(document: str | Mapping[str, Any]) -> list[Statement]:
    """The ``Allow`` statements of a policy document, which is JSON text or already decoded.

    Raises UnknownFactError if it cannot be read: AWS stores no such document, so what was stored is damaged.
    """
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            raise UnknownFactError("the policy document is not JSON") from None
    if not isinstance(document, Mapping):
        raise UnknownFactError("the policy document is not a JSON object")
    statements = [part for part in as_list(document.get("Statement")) if isinstance(part, Mapping)]
    return [statement for statement in statements if statement.get("Effect") == "Allow"]


def as_list(value: Any) -> list[Any]:
    """``value`` as a list: most elements of a document may be one value or a list of them, or be left out."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
