"""One module per AWS service, each with a ``SERVICE`` declaration; all of them are found by themselves."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from qrie_dagster.errors import NotFoundError
from qrie_dagster.inventory.resource_type import Service


@cache
def all_services() -> dict[str, Service]:
    """Every declared service by name, in alphabetical order."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return {module.SERVICE.name: module.SERVICE for module in modules}


def find_service(name: str) -> Service:
    """The service called ``name``. Raises NotFoundError naming those there are."""
    services = all_services()
    if name not in services:
        raise NotFoundError(f"There is no service {name!r}; there are: {', '.join(services)}.")
    return services[name]
