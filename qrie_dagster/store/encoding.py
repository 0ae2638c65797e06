"""How configurations and evidence are kept: compressed JSON behind a version byte.

A resource is mostly repeated key names: zlib makes it five to ten times smaller, and DynamoDB charges by the
kilobyte. Readers outside the store never see this.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from qrie_dagster.errors import StoreError

VERSION = b"\x01"

# DynamoDB takes items of 400 KB, names and keys included.
LARGEST = 380_000
PART = 300_000


def encode(value: Any) -> bytes:
    """JSON values as bytes."""
    return VERSION + zlib.compress(_dumps(value), 6)


def decode(data: bytes) -> Any:
    """What ``encode`` was given. Raises StoreError for a format this version does not know, or damaged data."""
    if data[:1] != VERSION:
        raise StoreError(f"A stored value has format {data[:1].hex() or 'none'}, which this qrie is too old to read.")
    try:
        return json.loads(zlib.decompress(data[1:]))
    except (zlib.error, ValueError) as error:
        raise StoreError(f"A stored value is damaged: {error}.") from error


def encode_in_parts(rows: Sequence[Any]) -> list[bytes]:
    """A list encoded in as few parts as items of a table can hold next to other attributes, each a list of its own."""
    whole = encode(list(rows))
    parts = [whole]
    count = len(whole) // PART + 1
    while len(rows) > count and max(map(len, parts)) > PART:
        step = -(-len(rows) // count)
        parts = [encode(list(rows[start : start + step])) for start in range(0, len(rows), step)]
        count += 1
    return parts


def encode_to_fit(configuration: Mapping[str, Any]) -> tuple[bytes, list[str]]:
    """The configuration encoded, and the keys that had to be left out because it would not fit in an item.

    The largest keys go first. A key left out is unknown to policies, never absent.
    """
    encoded = encode(configuration)
    if len(encoded) <= LARGEST:
        return encoded, []
    kept = dict(configuration)
    left_out: list[str] = []
    for key in sorted(kept, key=lambda key: len(encode(kept[key])), reverse=True):
        del kept[key]
        left_out.append(key)
        encoded = encode(kept)
        if len(encoded) <= LARGEST:
            break
    return encoded, sorted(left_out)


def _dumps(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
