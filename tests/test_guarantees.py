"""Every promise in docs/guarantees.md names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "guarantees.md").read_text()
PROOFS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))


@pytest.mark.parametrize(("path", "name"), PROOFS)
def test_the_proof_exists(path: str, name: str) -> None:
    assert re.search(rf"^(def {name}\(|class {name}\b|{name}\b.*=)", (ROOT / path).read_text(), re.MULTILINE)


def test_every_promise_has_a_proof() -> None:
    promises = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(promises) > 20
    assert all("::" in line.rpartition("|")[0].rpartition("|")[2] for line in promises)


def test_every_reference_is_one() -> None:
    assert TEXT.count("::") == len(re.findall(r"`tests/[\w/]+\.py::\w+`", TEXT))
