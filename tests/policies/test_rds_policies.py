import pytest


def test_a_private_instance_is_fine(judge) -> None:
    assert judge("RDSPublicAccess", {"PubliclyAccessible": False}).status == "compliant"


@pytest.mark.parametrize(
    ("endpoint", "address", "port"),
    [
        pytest.param({"Address": "db.example.com", "Port": 5432, "HostedZoneId": "Z1"}, "db.example.com", 5432),
        pytest.param(None, None, None, id="still being created"),
    ],
)
def test_a_public_instance(judge, endpoint, address, port) -> None:
    verdict = judge("RDSPublicAccess", {"PubliclyAccessible": True, "Endpoint": endpoint})
    assert verdict.status == "violation"
    assert verdict.evidence == {"PubliclyAccessible": True, "Address": address, "Port": port}


def test_missing_is_not_false(judge) -> None:
    assert judge("RDSPublicAccess", {"DBInstanceIdentifier": "db"}).status == "unknown"
