"""The documentation says what is true: links lead somewhere, examples work, generated pages are up to date."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from botocore.session import Session

from qrie_dagster import docs
from qrie_dagster.inventory import resource_type
from qrie_dagster.models import Resource
from qrie_dagster.policies import policy as policies
from qrie_dagster.policies.policy import Status, Surroundings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", docs.pages())
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == docs.pages()[name], "run 'make docs'"


def test_readme_names_commands_that_exist() -> None:
    app = import_module("qrie_dagster.cli.app").app
    groups = {
        group.name: {c.name or c.callback.__name__ for c in group.typer_instance.registered_commands}
        for group in app.registered_groups
    }
    single = {command.name for command in app.registered_commands}
    for line in re.findall(r"^\| `qrie ([^`]+)` \|", (ROOT / "README.md").read_text(), re.M):
        first, _, rest = line.partition(" ")
        if first in groups:
            known = {name.replace("_", "-") for name in groups[first]}
            assert {word.strip() for word in rest.split("/")} <= known, line
        else:
            assert first in single, line


def _example(language_line: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    return next(block for block in blocks if language_line in block)


def test_the_example_service_is_a_service() -> None:
    names: dict[str, object] = {}
    exec(_example("SERVICE = Service("), names)
    service = names["SERVICE"]
    assert isinstance(service, resource_type.Service)
    model = Session().get_service_model(service.name)
    operations = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in model.operation_names}
    for kind in service.types:
        assert {kind.listing.operation, *(detail.operation for detail in kind.details)} <= operations
        item = {"Attributes": {"QueueArn": "arn:aws:sqs:eu-west-1:123456789012:jobs"}}
        assert kind.arn_of(item, "aws", "eu-west-1", "123456789012") == "arn:aws:sqs:eu-west-1:123456789012:jobs"


def test_the_example_policy_is_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "_registry", {})
    exec(_example("@policy("), {**vars(policies), "Resource": Resource})
    [example] = policies._registry.values()
    arn = "arn:aws:sqs:eu-west-1:123456789012:jobs"

    def verdict(configuration: dict[str, object]) -> Status:
        queue = Resource("123456789012", "sqs", "AWS::SQS::Queue", "eu-west-1", arn, configuration, 1)
        return example.evaluate(queue, Surroundings(0, {})).status

    assert verdict({"Attributes": {"SqsManagedSseEnabled": "true"}}) is Status.COMPLIANT
    assert verdict({"Attributes": {"SqsManagedSseEnabled": "false"}}) is Status.VIOLATION
    assert verdict({}) is Status.UNKNOWN
