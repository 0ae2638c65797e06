"""The model of the loop, as stories begin with it."""

from collections.abc import Iterator

import pytest
from test_loop import Loop

RED = 0


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A zoo, scanned once; at the end of each story one full scan must make everything true."""
    loop = Loop()
    loop.begin(set(), RED, scanned=True)
    yield loop
    loop.nothing_known_is_forgotten()
    loop.teardown()
