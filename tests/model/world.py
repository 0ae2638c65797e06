"""A model of AWS: accounts, regions and one service with a few resources, a clock, a memory of everything it ever
held, and faults on demand. Its sessions are what the real collector is given.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from botocore.exceptions import ClientError, EndpointConnectionError

from qrie_dagster.errors import AwsAccessError
from qrie_dagster.inventory.resource_type import Detail, Listing, ResourceType, Service
from qrie_dagster.models import GLOBAL, Account, Resource
from qrie_dagster.policies.policy import COMPLIANT, Category, Policy, Verdict, violation

ACCOUNTS = ("111111111111", "222222222222")
REGIONS = ("eu-west-1", "us-east-1")
ANIMAL, CAGE, KEEPER = (f"AWS::Zoo::{name}" for name in ("Animal", "Cage", "Keeper"))

SERVICE = Service(
    name="zoo",
    display_name="The zoo",
    types=(
        # One on a page.
        ResourceType(
            ANIMAL, Listing("list_animals"), "Animals[]", "arn:{partition}:zoo:{region}:{account}:animal/{Name}"
        ),
        # Has no pages.
        ResourceType(CAGE, Listing("list_cages"), "Cages[]", "arn:{partition}:zoo:{region}:{account}:cage/{Name}"),
        ResourceType(
            KEEPER,
            Listing("list_keepers"),
            "Keepers[]",
            "arn:{partition}:zoo::{account}:keeper/{Name}",
            is_global=True,
            details=(
                Detail("Licence", "get_licence", {"Name": "Name"}, "Licence", absent=frozenset({"NoSuchLicence"})),
            ),
            gone=frozenset({"NoSuchKeeper"}),
        ),
    ),
)
LISTINGS = {"list_animals": ANIMAL, "list_cages": CAGE, "list_keepers": KEEPER}
PAGE = 1

# What AWS says of a resource; None once it does not exist.
State: TypeAlias = Mapping[str, Any] | None


@dataclass(frozen=True, order=True)
class Place:
    """Where a resource is or could be; ``region`` is that of its listing."""

    account_id: str
    resource_type: str
    region: str
    name: str

    @property
    def arn(self) -> str:
        kind = self.resource_type.rpartition(":")[2].lower()
        region = "" if self.region == GLOBAL else self.region
        return f"arn:aws:zoo:{region}:{self.account_id}:{kind}/{self.name}"


PLACES = [
    Place(account_id, resource_type, region, name)
    for account_id in ACCOUNTS
    for resource_type, region, names in (
        (ANIMAL, REGIONS[0], "abc"),
        (ANIMAL, REGIONS[1], "a"),
        (CAGE, REGIONS[0], "a"),
        (KEEPER, GLOBAL, "ab"),
    )
    for name in names
]
BY_ARN = {place.arn: place for place in PLACES}


def _violates(key: str, wrong: Any) -> Callable[[Resource, Any], Verdict]:
    def check(resource: Resource, _surroundings: Any) -> Verdict:
        value = resource.fact(key)
        return violation(**{key: value, "Size": resource.configuration.get("Size")}) if value in wrong else COMPLIANT

    return check


def _policy(id: str, resource_type: str, severity: int, key: str, *wrong: Any) -> Policy:
    return Policy(id, resource_type, severity, Category.LOGGING, id, id, (), _violates(key, wrong))


POLICIES = {
    policy.id: policy
    for policy in (
        _policy("AnimalRed", ANIMAL, 95, "Colour", "red"),
        _policy("CageOpen", CAGE, 40, "Colour", "red"),
        _policy("KeeperUnlicensed", KEEPER, 70, "Licence", "expired", None),
    )
}


@dataclass
class Fault:
    """What goes wrong with calls of AWS: None stands for any. ``page`` counts the calls of a listing from 0."""

    operation: str | None = None
    account_id: str | None = None
    region: str | None = None
    page: int | None = None
    name: str | None = None
    code: str = "Throttling"
    times: int = 1

    def hits(self, operation: str, account_id: str, region: str, page: int, name: str) -> bool:
        pairs = (
            (self.operation, operation),
            (self.account_id, account_id),
            (self.region, region),
            (self.page, page),
            (self.name, name),
        )
        if self.times <= 0 or any(wanted is not None and wanted != actual for wanted, actual in pairs):
            return False
        self.times -= 1
        return True


class World:
    """``pause`` is called ahead of every call of AWS: others may act then."""

    def __init__(self) -> None:
        self.clock = 1_700_000_000_000
        self.start = self.clock
        self.history: dict[Place, list[tuple[int, State]]] = {place: [(0, None)] for place in PLACES}
        self.faults: list[Fault] = []
        self.pause: Callable[[str], None] = lambda _operation: None

    def now_ms(self) -> int:
        """A clock that never shows the same time twice."""
        self.clock += 1
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += round(seconds * 1000)

    def put(self, place: Place, state: State) -> int:
        """Create, change or delete a resource; when."""
        at = self.now_ms()
        self.history[place].append((at, state))
        return at

    def state(self, place: Place) -> State:
        return self.history[place][-1][1]

    def since(self, place: Place, at: int) -> list[State]:
        """Every state the resource was in at ``at`` (ms) or later."""
        entries = self.history[place]
        first = max(number for number, (time, _) in enumerate(entries) if time <= at)
        return [state for _, state in entries[first:]]

    def call(self, operation: str, account_id: str, region: str, page: int = 0, name: str = "") -> None:
        """What happens at every call before AWS answers."""
        self.pause(operation)
        for fault in self.faults:
            if fault.hits(operation, account_id, region, page, name):
                if fault.code == "no answer":
                    raise EndpointConnectionError(endpoint_url=f"https://zoo.{region}")
                raise ClientError({"Error": {"Code": fault.code, "Message": "not today"}}, operation)

    def enter(self, account: Account) -> Any:
        try:
            self.call("assume_role", account.account_id, GLOBAL)
        except (ClientError, EndpointConnectionError) as error:
            raise AwsAccessError(f"Cannot assume the role: {error}") from error
        return Session(self, account.account_id)


class Session:
    """Stands for ``qrie_dagster.aws.AccountSession``."""

    partition = "aws"

    def __init__(self, world: World, account_id: str) -> None:
        self.world = world
        self.account_id = account_id

    def client(self, _service: str, region: str) -> "Client":
        return Client(self.world, self.account_id, region)

    def regions(self) -> tuple[list[str], list[str]]:
        self.world.call("describe_regions", self.account_id, GLOBAL)
        return list(REGIONS), []


class Client:
    """Answers from the model as it is at each call."""

    def __init__(self, world: World, account_id: str, region: str) -> None:
        self.world, self.account_id, self.region = world, account_id, region

    def can_paginate(self, operation: str) -> bool:
        return operation != "list_cages"

    def get_paginator(self, operation: str) -> "Pages":
        return Pages(self, operation)

    def list_cages(self) -> dict[str, Any]:
        self.world.call("list_cages", self.account_id, self.region)
        return {"Cages": [item for _, item in self.items("list_cages", "")]}

    def get_licence(self, Name: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        self.world.call("get_licence", self.account_id, GLOBAL, name=Name)
        state = self.world.state(Place(self.account_id, KEEPER, GLOBAL, Name))
        if state is None:
            raise ClientError({"Error": {"Code": "NoSuchKeeper", "Message": ""}}, "get_licence")
        if state["Licence"] is None:
            raise ClientError({"Error": {"Code": "NoSuchLicence", "Message": ""}}, "get_licence")
        return {"Licence": state["Licence"]}

    def items(self, operation: str, after: str) -> list[tuple[str, dict[str, Any]]]:
        region = GLOBAL if operation == "list_keepers" else self.region
        return [
            (place.name, {"Name": place.name, **{key: value for key, value in state.items() if key != "Licence"}})
            for place, entries in self.world.history.items()
            if (place.account_id, place.resource_type, place.region) == (self.account_id, LISTINGS[operation], region)
            and place.name > after
            and (state := entries[-1][1]) is not None
        ]


class Pages:
    def __init__(self, client: Client, operation: str) -> None:
        self.client, self.operation = client, operation

    def paginate(self) -> Iterator[dict[str, Any]]:
        after, page = "", 0
        key = LISTINGS[self.operation].rpartition(":")[2] + "s"
        region = GLOBAL if self.operation == "list_keepers" else self.client.region
        while True:
            self.client.world.call(self.operation, self.client.account_id, region, page)
            found = self.client.items(self.operation, after)
            yield {key: [item for _, item in found[:PAGE]]}
            if len(found) <= PAGE:
                return
            after, page = found[PAGE - 1][0], page + 1


def as_resource(place: Place, state: Mapping[str, Any], at: int, unread: tuple[str, ...] = ()) -> Resource:
    """What a consumer of events sees of a resource at ``at``."""
    shown = {key: value for key, value in state.items() if key not in unread}
    return Resource(
        place.account_id,
        SERVICE.name,
        place.resource_type,
        place.region,
        place.arn,
        {"Name": place.name, "Tags": {}, **shown},
        at,
        unread,
    )
