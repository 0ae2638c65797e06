"""What every declaration must keep to, so that a service is added by writing one file."""

from functools import cache
from importlib import import_module
from pathlib import Path
from string import Formatter
from typing import Any

import botocore.session
import jmespath
import pytest
from botocore import xform_name
from botocore.model import ServiceModel, Shape

from qrie_dagster.errors import QrieError
from qrie_dagster.inventory import services
from qrie_dagster.inventory.resource_type import ONE_PER_ACCOUNT, ResourceType, Service
from qrie_dagster.inventory.services import all_services, find_service

SERVICES = all_services()
TYPES = [pytest.param(service, kind, id=kind.name) for service in SERVICES.values() for kind in service.types]
LISTED = [parameter for parameter in TYPES if parameter.values[1].listing != ONE_PER_ACCOUNT]


@cache
def _model(client: str) -> ServiceModel:
    model: ServiceModel = botocore.session.Session().get_service_model(client)
    return model


def _operation(client: str, method: str) -> Any:
    model = _model(client)
    by_method = {xform_name(name): name for name in model.operation_names}
    assert method in by_method, f"{client} has no {method}"
    return model.operation_model(by_method[method])


def _sample(shape: Shape | None, inside: tuple[str, ...] = ()) -> Any:
    """An answer of this shape with everything in it, each list with one item."""
    if shape is None or shape.name in inside:
        return None
    inside = (*inside, shape.name)
    if shape.type_name == "structure":
        return {name: _sample(member, inside) for name, member in shape.members.items()}  # type: ignore[attr-defined]
    if shape.type_name == "list":
        return [_sample(shape.member, inside)]  # type: ignore[attr-defined]
    if shape.type_name == "map":
        return {}
    return {"boolean": True, "integer": 1, "long": 1}.get(shape.type_name, "x")


def _item(service: Service, kind: ResourceType) -> dict[str, Any]:
    (item,) = kind.find_items(_sample(_operation(service.name, kind.listing.operation).output_shape))
    assert isinstance(item, dict)
    return item


def test_every_file_is_a_service() -> None:
    files = {path.stem for path in Path(services.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(SERVICES) == files
    assert list(SERVICES) == sorted(files)
    for name in files:
        assert find_service(name) is import_module(f"{services.__name__}.{name}").SERVICE


def test_an_unknown_service_is_named_with_those_there_are() -> None:
    with pytest.raises(QrieError, match="no service 'sqs'; there are: ec2, iam, rds, s3"):
        find_service("sqs")


def test_names_are_unique_and_tell_the_service() -> None:
    names = [kind.name for service in SERVICES.values() for kind in service.types]
    assert len(names) == len(set(names))
    for service in SERVICES.values():
        assert service.display_name
        # Policies find their service by it.
        assert {kind.name.split("::")[1].lower() for kind in service.types} == {service.name}


@pytest.mark.parametrize(("service", "kind"), LISTED)
def test_the_listing_exists_and_takes_its_parameters(service: Service, kind: ResourceType) -> None:
    operation = _operation(service.name, kind.listing.operation)
    assert {name for name, _value in kind.listing.params} <= set(operation.input_shape.members)
    paginators = botocore.session.Session().get_paginator_model(service.name)._paginator_config
    has_pages = {"NextToken", "Marker", "ContinuationToken"} & set(operation.input_shape.members)
    assert bool(has_pages) == (operation.name in paginators)


@pytest.mark.parametrize(("service", "kind"), LISTED)
def test_its_items_have_what_the_declaration_names(service: Service, kind: ResourceType) -> None:
    item = _item(service, kind)
    from_session = {"partition", "region", "account"}
    assert {name for _, name, _, _ in Formatter().parse(kind.arn) if name} - from_session <= set(item)
    assert kind.drop <= set(item)
    if kind.region:
        assert jmespath.search(kind.region, item)


@pytest.mark.parametrize(("service", "kind"), LISTED)
def test_the_tags_are_where_it_says(service: Service, kind: ResourceType) -> None:
    shown = set(_item(service, kind)) | {detail.key for detail in kind.details}
    # IAM has no tags on groups.
    assert kind.tags in shown or kind.name == "AWS::IAM::Group"


@pytest.mark.parametrize(("service", "kind"), LISTED)
def test_what_is_listed_with_an_owner_may_be_another_accounts(service: Service, kind: ResourceType) -> None:
    assert kind.owner == "OwnerId" or "OwnerId" not in _item(service, kind)


DETAILS = [
    pytest.param(service, kind, detail, id=f"{kind.name}-{detail.key}")
    for service in SERVICES.values()
    for kind in service.types
    for detail in kind.details
]


@pytest.mark.parametrize(("service", "kind", "detail"), DETAILS)
def test_details_exist_and_get_what_they_require(service: Service, kind: ResourceType, detail: Any) -> None:
    operation = _operation(detail.client or service.name, detail.operation)
    given = set(detail.params)
    accepted, required = set(), set()
    if operation.input_shape:
        accepted, required = set(operation.input_shape.members), set(operation.input_shape.required_members)
    assert required <= given <= accepted
    listed = {} if kind.listing == ONE_PER_ACCOUNT else _item(service, kind)
    for path in detail.params.values():
        assert jmespath.search(path, {**listed, "AccountId": "123456789012"})
    answer = _sample(operation.output_shape)
    if operation.name == "GetAccountSummary":
        answer = {"SummaryMap": {"AccountMFAEnabled": 1}}
    assert jmespath.search(detail.result, answer)


@pytest.mark.parametrize("service", [pytest.param(service, id=name) for name, service in SERVICES.items()])
def test_enrichments_of_one_key_read_alike(service: Service) -> None:
    reads: dict[str, set[Any]] = {}
    for kind in service.types:
        if kind.enrich:
            reads.setdefault(kind.enrich.key, set()).add(kind.enrich.read)
    assert all(len(functions) == 1 for functions in reads.values())
