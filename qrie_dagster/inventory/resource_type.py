"""The vocabulary an AWS service is declared in.

A service is a ``Service`` with one ``ResourceType`` per kind of resource: how to list it, what to ask about each
item, how its ARN is formed. The collector does everything else. ``services/s3.py`` is the example to read.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import jmespath

from qrie_dagster.models import GLOBAL

Item: TypeAlias = dict[str, Any]

# Error codes that mean "there is no such thing", for any call.
NO_CODES: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Listing:
    """One AWS operation that lists resources.

    ``operation`` is the boto3 client method; it is paged when botocore knows a paginator for it. Types that
    share an equal ``Listing`` share its calls. ``function`` replaces the call for APIs that do not list in
    pages (the credential report): it gets the client and returns answers from which ``items`` are taken.
    """

    operation: str = ""
    params: tuple[tuple[str, Any], ...] = ()
    function: Callable[[Any], Iterable[Mapping[str, Any]]] | None = None


# For what every account has exactly one of, whether configured or not; its facts come from details.
ONE_PER_ACCOUNT = Listing(function=lambda _client: [{"Items": [{}]}])


@dataclass(frozen=True)
class Detail:
    """One call per item that adds a key to its configuration.

    ``params`` maps each parameter to a JMESPath on the item, which also holds ``AccountId``. ``result`` picks from the
    answer. ``absent`` are error codes that mean "not configured": the key is then stored as null, which is data. Any
    other error leaves the key out, unknown, and so does an answer in which ``result`` is null.
    """

    key: str
    operation: str
    params: Mapping[str, str]
    result: str = "@"
    absent: frozenset[str] = NO_CODES
    client: str | None = None


@dataclass(frozen=True)
class Enrichment:
    """A fact about each item that comes from one answer about all of them.

    ``read`` gets the client and returns that answer, in whatever form; it is asked for once per region, even if
    several types need it. ``pick`` finds in it what to store of an item under ``key``, or None if it does not know
    the item: the key is then left out, unknown. When AWS refuses ``read``, ``key`` is unknown on all items and the
    failure is recorded.
    """

    key: str
    read: Callable[[Any], Any]
    pick: Callable[[Any, Item], Any]


@dataclass(frozen=True)
class ResourceType:
    """One kind of resource.

    Attributes:
        name: the CloudFormation type name, e.g. ``AWS::S3::Bucket``.
        listing: how to list it.
        items: JMESPath from an answer of the listing to its items. An answer without the list fails the listing; where
            AWS leaves out an empty list, as SQS does, say so: ``(QueueUrls || `[]`)[]``.
        arn: an ARN template; ``{partition}``, ``{region}``, ``{account}`` and the item's own keys are filled in.
        is_global: listed once per account instead of once per region.
        region: JMESPath to an item's own region where a global listing shows regional things (S3).
        details: calls that enrich each item.
        enrich: a fact about each item from one answer about all of them.
        owner: key of an item that holds the account it belongs to, where a listing also shows what other accounts
            share with this one. That is left out: it is inventoried where it belongs, under one ARN.
        tags: JMESPath to the tags: a list of ``Key``/``Value`` pairs or a mapping.
        gone: error codes of detail calls that mean the resource vanished after it was listed.
        drop: keys of an item that are not worth keeping, such as counters that change at every look.
    """

    name: str
    listing: Listing
    items: str
    arn: str
    is_global: bool = False
    region: str | None = None
    details: Sequence[Detail] = ()
    enrich: Enrichment | None = None
    owner: str | None = None
    tags: str = "Tags"
    gone: frozenset[str] = NO_CODES
    drop: frozenset[str] = NO_CODES

    @cached_property
    def find_items(self) -> Callable[[Any], Any]:
        """The compiled ``items`` expression."""
        return jmespath.compile(self.items).search

    def tells_of_all(self, key: str) -> bool:
        """Whether what ``key`` holds is not one item's own: no item of the type is known without it."""
        return self.listing == ONE_PER_ACCOUNT or bool(self.enrich and self.enrich.key == key)

    def arn_of(self, item: Item, partition: str, region: str, account_id: str) -> str:
        """The ARN of ``item``, taken or formed. Raises KeyError when the item lacks what the template names."""
        values = {**item, "partition": partition, "region": region, "account": account_id}
        return self.arn.format_map(values)


@dataclass(frozen=True)
class Service:
    """One AWS service: its boto3 client name, its name for people, and its resource types."""

    name: str
    display_name: str
    types: Sequence[ResourceType] = field(default_factory=tuple)
    # The region whose endpoint answers for global types, by partition.
    global_region: Mapping[str, str] = field(
        default_factory=lambda: {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
    )

    @cached_property
    def is_global(self) -> bool:
        """Whether no type needs the list of regions."""
        return all(kind.is_global for kind in self.types)

    @cached_property
    def global_types(self) -> frozenset[str]:
        """Names of the types that are listed once per account."""
        return frozenset(kind.name for kind in self.types if kind.is_global)

    def scope_key(self, resource_type: str, region: str) -> str:
        """The key of the listing a stored resource belongs to, as in ``ListedScope.key``."""
        return f"{resource_type}/{GLOBAL if resource_type in self.global_types else region}"
