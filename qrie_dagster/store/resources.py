"""``qrie_resources``: one item per resource.

Besides there are tombstones, in partitions of their own named ``<account_id>_<service>#deleted``, which no reader of
resources meets: that AWS reported a resource deleted at ``DescribeTime``. They keep what is older than that, a late
event or a scan that had listed the resource before, from bringing it back. DynamoDB drops them after five weeks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from qrie_dagster.errors import StoreError
from qrie_dagster.models import Configuration, Resource, account_service
from qrie_dagster.reconcile import Changes, Deletion, Stored, content_hash
from qrie_dagster.store.dynamo import (
    Attr,
    ConditionBase,
    ConditionFailedError,
    Dynamo,
    DynamoItem,
    Key,
    OvertakenError,
    Write,
    concurrently,
    while_it_holds,
)
from qrie_dagster.store.encoding import decode, encode_to_fit
from qrie_dagster.store.tables import RESOURCES
from qrie_dagster.times import DAY_MS

TOMBSTONE_DAYS = 35

_INDEX = {
    "ProjectionExpression": "ARN, ResourceType, #region, ConfigHash, DescribeTime, ScanId, FirstSeenAt, LastSeenAt",
    "ExpressionAttributeNames": {"#region": "Region"},
    "ConsistentRead": True,
}


@dataclass
class Applied:
    """What a write of changes really changed.

    It stopped before the end because another scan had ``overtaken`` it, or for what ``error`` says.
    """

    created: int = 0
    updated: int = 0
    deleted: int = 0
    superseded: int = 0
    overtaken: bool = False
    error: str | None = None


# Rows that one query looks at when it has to look for some.
LOOKED_AT = 1000


@dataclass(frozen=True)
class KeptResource:
    """A stored resource, when it was first seen and when a scan last wrote it (ms)."""

    resource: Resource
    first_seen: int
    last_written: int


class ResourceTable:
    """The stored inventory."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def index(self, account_id: str, service: str) -> dict[str, Stored]:
        """What reconciling has to know of each stored resource, by ARN."""
        items = self._dynamo.query(RESOURCES, _partition(account_id, service), **_INDEX)
        return {
            item["ARN"]: Stored(
                item["ARN"],
                item["ResourceType"],
                item["Region"],
                item["ConfigHash"],
                item["DescribeTime"],
                item.get("ScanId", ""),
                item["LastSeenAt"],
                item["FirstSeenAt"] == item["LastSeenAt"],
            )
            for item in items
        }

    def load(self, account_id: str, service: str) -> Iterator[Resource]:
        """The stored resources of one (account, service), page after page."""
        return map(_resource, self._dynamo.query(RESOURCES, _partition(account_id, service), ConsistentRead=True))

    def page(
        self, account_id: str, service: str, wanted: int, after: str = "", only: ConditionBase | None = None
    ) -> tuple[list[KeptResource], str]:
        """At most ``wanted`` resources of one (account, service), and the ARN to go on after, empty at the end.

        ``only`` restricts by other attributes. One query: with ``only``, fewer than ``wanted`` may come, even none.
        """
        extra = {} if only is None else {"FilterExpression": only}
        start = _key(account_id, service, after) if after else None
        items, last = self._dynamo.query_page(
            RESOURCES, _partition(account_id, service), wanted if only is None else LOOKED_AT, start, **extra
        )
        if len(items) > wanted:
            items, last = items[:wanted], items[wanted - 1]
        kept = [KeptResource(_resource(item), item["FirstSeenAt"], item["LastSeenAt"]) for item in items]
        return kept, last["ARN"] if last else ""

    def kept(self, account_id: str, service: str, arn: str) -> KeptResource | None:
        """One stored resource and since when it is known, or None."""
        item = self._dynamo.get(RESOURCES, _key(account_id, service, arn))
        return KeptResource(_resource(item), item["FirstSeenAt"], item["LastSeenAt"]) if item else None

    def configurations(self, account_id: str, service: str, arns: list[str]) -> dict[str, Configuration]:
        """The configurations of some resources, by ARN."""
        keys = [_key(account_id, service, arn) for arn in arns]
        return {item["ARN"]: decode(item["Configuration"]) for item in self._dynamo.batch_get(RESOURCES, keys)}

    def get(self, account_id: str, service: str, arn: str) -> Resource | None:
        """One stored resource, or None."""
        item = self._dynamo.get(RESOURCES, _key(account_id, service, arn))
        return _resource(item) if item else None

    def apply(
        self, account_id: str, service: str, changes: Changes, claim: Write, now: int, scan_id: str = ""
    ) -> Applied:
        """Write the changes of a scan, each only over something older. Counts are of what the table really changed.

        What has been reported deleted since it was listed is removed again, and not counted. What is stored already
        changes only while ``claim`` holds: a later scan may have seen it just as it is stored, which leaves no trace.
        """
        applied = Applied()
        written: list[tuple[Resource, bool]] = []
        try:
            for resource, existed in self._written(changes, claim, now, scan_id):
                if existed is None:
                    applied.superseded += 1
                else:
                    applied.updated += existed
                    applied.created += not existed
                    written.append((resource, existed))
            for _ in concurrently(partial(self.write, now=now), changes.confirmed):
                pass
            for existed in self._bury(account_id, service, written, claim):
                applied.updated -= existed
                applied.created -= not existed
                applied.superseded += 1
            gone = [_deletion(account_id, service, one) for one in changes.deleted]
            for was_deleted in while_it_holds(self._dynamo, claim, gone):
                if was_deleted:
                    applied.deleted += 1
                else:
                    applied.superseded += 1
        except OvertakenError:
            applied.overtaken = True
        except StoreError as error:
            applied.error = str(error)
        return applied

    def _written(
        self, changes: Changes, claim: Write, now: int, scan_id: str
    ) -> Iterator[tuple[Resource, bool | None]]:
        """Each resource and what ``write`` says of it."""
        yield from concurrently(lambda one: (one, self.write(one, now, scan_id)), changes.created)
        writes = [observed(resource, now, scan_id) for resource in changes.updated]
        over = [replace(write, condition=write.condition & Attr("ARN").exists()) for write in writes if write.condition]
        for resource, done in zip(changes.updated, while_it_holds(self._dynamo, claim, over), strict=True):
            # Either there is something newer, or it was deleted meanwhile and may be new again.
            yield resource, True if done else self.write(resource, now, scan_id)

    def write(self, resource: Resource, now: int, scan_id: str = "") -> bool | None:
        """Write a resource unless something newer is stored: whether it existed before, None if not written."""
        write = observed(resource, now, scan_id)
        try:
            before = self._dynamo.update(
                RESOURCES, write.key, write.set_, set_once=write.set_once, condition=write.condition
            )
        except ConditionFailedError:
            return None
        return "DescribeTime" in before

    def _bury(
        self, account_id: str, service: str, written: Sequence[tuple[Resource, bool]], claim: Write
    ) -> Iterator[bool]:
        """Remove what was reported deleted after it was listed; yields of each whether it had existed before."""
        if not written:
            return
        deleted = self.reported_deletions(account_id, service)
        late = [(one, existed) for one, existed in written if deleted.get(one.arn, 0) > one.describe_time]
        removals = [
            _deletion(account_id, service, Deletion(one.arn, one.resource_type, deleted[one.arn])) for one, _ in late
        ]
        for (_, existed), buried in zip(late, while_it_holds(self._dynamo, claim, removals), strict=True):
            if buried:
                yield existed

    def reported_deletions(self, account_id: str, service: str) -> dict[str, int]:
        """When (ms) AWS reported resources deleted that are not back, by ARN, for as long as that is kept."""
        graves = Key("AccountService").eq(_graveyard(account_id, service))
        return {
            item["ARN"]: item["DescribeTime"] for item in self._dynamo.query(RESOURCES, graves, ConsistentRead=True)
        }

    def delete(self, account_id: str, service: str, deletion: Deletion) -> bool:
        """Delete a resource unless something newer is stored."""
        write = _deletion(account_id, service, deletion)
        try:
            self._dynamo.delete(RESOURCES, write.key, write.condition)
        except ConditionFailedError:
            return False
        return True

    def forget(self, account_id: str, service: str, away: Write) -> int:
        """Delete all that is stored of an account's service while ``away`` holds; how many resources.

        Raises OvertakenError once it does not.
        """
        resources = [_key(account_id, service, arn) for arn in self.index(account_id, service)]
        graves = [_grave(account_id, service, arn) for arn in self.reported_deletions(account_id, service)]
        for _ in while_it_holds(self._dynamo, away, [Write(RESOURCES, key, "delete") for key in (*graves, *resources)]):
            pass
        return len(resources)

    def forget_region(self, account_id: str, service: str, region: str) -> int:
        """Delete what is stored of an account's service in one region; how many resources."""
        arns = [stored.arn for stored in self.index(account_id, service).values() if stored.region == region]
        return sum(1 for _ in concurrently(partial(self._forget, account_id, service), arns))

    def _forget(self, account_id: str, service: str, arn: str) -> None:
        self._dynamo.delete(RESOURCES, _key(account_id, service, arn))


def observed(resource: Resource, now: int, scan_id: str = "") -> Write:
    """The write of a resource over something older, by a scan or, without ``scan_id``, on its own.

    What was completed from an older observation is written over that observation only: what came in between may be
    newer in those parts.
    """
    configuration, left_out = encode_to_fit(resource.configuration)
    item = {
        "Configuration": configuration,
        "ResourceType": resource.resource_type,
        "Region": resource.region,
        "ConfigHash": content_hash(resource),
        "DescribeTime": resource.describe_time,
        "LastSeenAt": now,
        "ScanId": scan_id,
        "Unread": [*resource.unread],
        "TooLarge": left_out,
    }
    condition: ConditionBase
    if resource.completed_from is None:
        condition = Attr("ARN").not_exists() | _older(resource.describe_time)
    else:
        condition = Attr("DescribeTime").eq(resource.completed_from) & _older(resource.describe_time)
    key = _key(resource.account_id, resource.service, resource.arn)
    return Write(RESOURCES, key, "update", item, {"FirstSeenAt": now}, condition)


def reported_deleted(account_id: str, service: str, arn: str, at: int, now: int) -> list[Write]:
    """The writes of a deletion that AWS reported for ``at`` (ms): a tombstone, and the resource's end."""
    grave = _grave(account_id, service, arn)
    tombstone = {"DescribeTime": at, "ExpiresAt": (now + TOMBSTONE_DAYS * DAY_MS) // 1000}
    older = Attr("ARN").not_exists() | _older(at)
    return [
        Write(RESOURCES, grave, "put", tombstone, condition=older),
        Write(RESOURCES, _key(account_id, service, arn), "delete", condition=older),
    ]


def not_deleted_since(resource: Resource) -> Write:
    """Removes the tombstone of a resource that was observed after it; fails if the tombstone is newer."""
    grave = _grave(resource.account_id, resource.service, resource.arn)
    older = Attr("ARN").not_exists() | _older(resource.describe_time)
    return Write(RESOURCES, grave, "delete", condition=older)


def _older(than: int) -> ConditionBase:
    # Never true where there is no item.
    condition: ConditionBase = Attr("DescribeTime").lt(than)
    return condition


def _graveyard(account_id: str, service: str) -> str:
    return account_service(account_id, service) + "#deleted"


def _grave(account_id: str, service: str, arn: str) -> dict[str, str]:
    return {"AccountService": _graveyard(account_id, service), "ARN": arn}


def _deletion(account_id: str, service: str, deletion: Deletion) -> Write:
    return Write(RESOURCES, _key(account_id, service, deletion.arn), "delete", condition=_older(deletion.describe_time))


def _partition(account_id: str, service: str) -> ConditionBase:
    return Key("AccountService").eq(account_service(account_id, service))


def _key(account_id: str, service: str, arn: str) -> dict[str, str]:
    return {"AccountService": account_service(account_id, service), "ARN": arn}


def _resource(item: DynamoItem) -> Resource:
    account_id, _, service = item["AccountService"].partition("_")
    return Resource(
        account_id,
        service,
        item["ResourceType"],
        item["Region"],
        item["ARN"],
        decode(item["Configuration"]),
        item["DescribeTime"],
        tuple(item.get("Unread", ())),
    )
