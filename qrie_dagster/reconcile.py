"""Observed against stored: what changed. Pure; the heart of the loop.

Two rules carry everything. A stored resource is deleted only when the listing it belongs to was complete and did
not hold it. An observation changes what is stored only when it is newer, by the time AWS was asked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from qrie_dagster.inventory.resource_type import Service
from qrie_dagster.models import ALL_REGIONS, Collected, Configuration, Resource


@dataclass(frozen=True)
class Stored:
    """What reconciling has to know of a stored resource; by which scan it was written when (ms), ``new`` if created."""

    arn: str
    resource_type: str
    region: str
    content_hash: str
    describe_time: int
    scan_id: str = ""
    written_ms: int = 0
    new: bool = False


@dataclass(frozen=True)
class Deletion:
    """A stored resource that a complete listing, begun at ``describe_time`` (ms), no longer held."""

    arn: str
    resource_type: str
    describe_time: int


@dataclass(frozen=True)
class Changes:
    """What has to be written. ``superseded`` counts observations older than what is stored.

    ``confirmed`` are unchanged resources of listings that were not complete: only a complete listing counts as having
    seen everything in it, so these are noted one by one. ``unlisted`` are stored resources in regions that the scan
    did not try to list.
    """

    created: tuple[Resource, ...]
    updated: tuple[Resource, ...]
    deleted: tuple[Deletion, ...]
    unchanged: int
    superseded: int
    unlisted: tuple[Stored, ...]
    confirmed: tuple[Resource, ...] = ()


NO_CHANGES = Changes((), (), (), 0, 0, ())


def reconcile(service: Service, collected: Collected, stored: Mapping[str, Stored]) -> Changes:
    """The writes that make ``stored`` (by ARN) equal to what was observed, where it was observed completely."""
    scopes = {scope.key: scope for scope in collected.scopes}
    created: list[Resource] = []
    updated: list[Resource] = []
    confirmed: list[Resource] = []
    unchanged = superseded = 0
    for resource in collected.resources:
        old = stored.get(resource.arn)
        if old is None:
            created.append(resource)
        elif old.content_hash == content_hash(resource):
            unchanged += 1
            scope = scopes.get(service.scope_key(resource.resource_type, resource.region))
            if scope and not scope.complete and old.describe_time < resource.describe_time:
                confirmed.append(resource)
        elif old.describe_time >= resource.describe_time:
            superseded += 1
        else:
            updated.append(resource)

    observed = {resource.arn for resource in collected.resources}
    regions_known = all(scope.region != ALL_REGIONS for scope in collected.scopes)
    deleted: list[Deletion] = []
    unlisted: list[Stored] = []
    for old in stored.values():
        if old.arn in observed:
            continue
        scope = scopes.get(service.scope_key(old.resource_type, old.region))
        if scope is None:
            if regions_known:
                unlisted.append(old)
        elif scope.complete and old.describe_time < scope.describe_time:
            deleted.append(Deletion(old.arn, old.resource_type, scope.describe_time))
        elif scope.complete:
            superseded += 1
    return Changes(
        tuple(created), tuple(updated), tuple(deleted), unchanged, superseded, tuple(unlisted), tuple(confirmed)
    )


def fill_in(resource: Resource, last_known: Configuration) -> Resource:
    """``resource`` with what AWS refused to show this time taken from the last known configuration."""
    known = {key: last_known[key] for key in resource.unread if key in last_known}
    return replace(
        resource,
        configuration={**resource.configuration, **known},
        unread=tuple(key for key in resource.unread if key not in known),
    )


def content_hash(resource: Resource) -> str:
    """A hash that is equal for equal content, whatever the order of keys and of lists.

    AWS does not promise the order of most lists, and no posture depends on it.
    """
    content = [
        resource.resource_type,
        resource.region,
        sorted(resource.unread),
        _ordered(resource.configuration),
    ]
    return blake2b(_dumps(content), digest_size=16).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _ordered(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return sorted((_ordered(inner) for inner in value), key=_dumps)
    return value


def _dumps(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
