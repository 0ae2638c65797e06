"""DynamoDB in memory, on which the model test runs, answers like the real one."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_dynamo import MemoryDynamo

from qrie_dagster.store import Store
from qrie_dagster.store.dynamo import Attr, ConditionBase, ConditionFailedError, Key, TransactionLostError, Write
from qrie_dagster.store.tables import FINDINGS, RESOURCES, STATE_INDEX

# moto is too lenient to compare with.
pytestmark = pytest.mark.parametrize("engine", ["dynamodb-local"], indirect=True)

NUMBERS = st.integers(0, 2)
NAMES = st.sampled_from(("a", "é"))
VALUES = (
    NUMBERS
    | NUMBERS
    | NUMBERS
    | NAMES
    | st.booleans()
    | st.none()
    | st.binary(min_size=1, max_size=2)
    | st.lists(NUMBERS, max_size=2)
)
FACTS = st.fixed_dictionaries({"n": NUMBERS | VALUES}, optional={"m": VALUES, "Region": VALUES})


def comparisons() -> st.SearchStrategy[ConditionBase]:
    attribute = st.sampled_from(("n", "n", "n", "m", "ARN", "Policy")).map(Attr)
    simple = st.one_of(
        attribute.map(lambda a: a.exists()),
        attribute.map(lambda a: a.not_exists()),
        st.builds(lambda a, v: a.eq(v), attribute, NUMBERS | NUMBERS | NAMES),
        st.builds(lambda a, v: a.lt(v), attribute, NUMBERS | NUMBERS | NAMES),
        st.builds(lambda a, v: a.lte(v), attribute, NUMBERS | NUMBERS | NAMES),
        st.builds(lambda a, v: a.begins_with(v), attribute, NAMES),
    )
    return simple | st.builds(lambda a, b: a & b, simple, simple) | st.builds(lambda a, b: a | b, simple, simple)


CONDITIONS = st.sampled_from((True, False)).flatmap(lambda free: st.none() if free else comparisons())


@st.composite
def keys(draw: st.DrawFn, table: str) -> dict[str, str]:
    names = ("AccountService", "ARN") if table == RESOURCES else ("ARN", "Policy")
    return {name: draw(NAMES) for name in names}


@st.composite
def calls(draw: st.DrawFn) -> Callable[[Any], Any]:
    """One call, to be made of either."""
    table = draw(st.sampled_from((RESOURCES, FINDINGS)))
    key, facts, condition = draw(keys(table)), draw(FACTS), draw(CONDITIONS)
    # Keys of the index are always text.
    item = {**facts, **key, **({"AccountService": draw(NAMES), "State": draw(NAMES)} if table == FINDINGS else {})}
    match draw(st.sampled_from(("put", "update", "update", "delete", "get", "transact", "query", "page"))):
        case "put":
            return lambda dynamo: dynamo.put(table, item, condition)
        case "update":
            set_ = {name: value for name, value in item.items() if name not in key}
            once, remove = draw(st.sampled_from(({}, {"first": 1}))), draw(st.sampled_from(((), ("gone", "other"))))
            if not (set_ or once or remove):
                return lambda dynamo: None
            return lambda dynamo: dynamo.update(table, key, set_, set_once=once, remove=remove, condition=condition)
        case "delete":
            return lambda dynamo: dynamo.delete(table, key, condition)
        case "get":
            return lambda dynamo: dynamo.get(table, key)
        case "transact":
            other = {"AccountService": draw(NAMES) + "#", "ARN": draw(NAMES)}
            third = {"AccountService": draw(NAMES) + "##", "ARN": draw(NAMES)}
            writes = [
                Write(table, key, "check", condition=condition or Attr("n").not_exists()),
                Write(RESOURCES, other, "put", {"m": draw(NUMBERS)}, condition=draw(CONDITIONS)),
                Write(RESOURCES, third, "update", {"m": draw(NUMBERS)}, {"first": 1}, draw(CONDITIONS)),
            ]
            return lambda dynamo: dynamo.transact(writes)
        case "query" if table == FINDINGS:
            group = draw(NAMES)
            return lambda dynamo: by_key(dynamo.query(FINDINGS, Key("AccountService").eq(group), IndexName=STATE_INDEX))
        case "query":
            return lambda dynamo: list(dynamo.query(RESOURCES, Key("AccountService").eq(key["AccountService"])))
        case _:
            group, limit = draw(NAMES), draw(st.integers(1, 2))
            only = draw(CONDITIONS.filter(lambda c: c is None or not mentions_keys(c)))
            extra = {} if only is None else {"FilterExpression": only}
            start = draw(st.none() | NAMES.map(lambda arn: {"AccountService": group, "ARN": arn}))
            return lambda dynamo: dynamo.query_page(RESOURCES, Key("AccountService").eq(group), limit, start, **extra)


def mentions_keys(condition: ConditionBase) -> bool:
    """Whether a condition is about key attributes, on which DynamoDB allows no filter."""
    return any(
        mentions_keys(part) if isinstance(part, ConditionBase) else getattr(part, "name", "") in ("ARN", "Policy")
        for part in condition.get_expression()["values"]
    )


def by_key(items: Any) -> list[dict[str, Any]]:
    """An index has no order among equal keys."""
    return sorted(items, key=lambda item: (item["State"], item["ARN"], item["Policy"]))


def answer(call: Callable[[Any], Any], dynamo: Any) -> Any:
    try:
        return call(dynamo)
    except ConditionFailedError:
        return "condition failed"
    except TransactionLostError as lost:
        return lost.failed


@given(st.lists(calls(), min_size=15, max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_answers_as_dynamodb_does(store: Store, script: list[Callable[[Any], Any]]) -> None:
    for table in (RESOURCES, FINDINGS):
        for item in store.dynamo.scan(table):
            store.dynamo.delete(table, {name: item[name] for name in item if name in _KEYS[table]})
    memory = MemoryDynamo()
    for number, call in enumerate(script):
        assert answer(call, memory) == answer(call, store.dynamo), f"call {number}"
    for table in (RESOURCES, FINDINGS):
        real = {tuple(item[name] for name in _KEYS[table]): item for item in store.dynamo.scan(table)}
        assert memory.tables[table] == real


_KEYS = {RESOURCES: ("AccountService", "ARN"), FINDINGS: ("ARN", "Policy")}
