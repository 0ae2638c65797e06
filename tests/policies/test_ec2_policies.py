import pytest


def test_an_encrypted_volume_is_fine(judge) -> None:
    assert judge("EC2UnencryptedEBS", {"Encrypted": True, "Attachments": []}).status == "compliant"


@pytest.mark.parametrize(
    ("attachments", "instances"),
    [
        pytest.param([], [], id="unattached"),
        pytest.param(None, [], id="attachments null"),
        pytest.param(..., [], id="attachments not given"),
        pytest.param([{"InstanceId": "i-1", "State": "attached"}], ["i-1"], id="attached"),
        pytest.param([{"InstanceId": "i-2"}, {"InstanceId": "i-1"}], ["i-1", "i-2"], id="multi-attach, sorted"),
        pytest.param([{"AssociatedResource": "arn:aws:ecs:::task"}], [], id="managed by another service"),
    ],
)
def test_an_unencrypted_volume(judge, attachments, instances) -> None:
    facts = {"Encrypted": False} | ({} if attachments is ... else {"Attachments": attachments})
    verdict = judge("EC2UnencryptedEBS", facts)
    assert verdict.status == "violation"
    assert verdict.evidence == {"Encrypted": False, "AttachedInstances": instances}


def test_missing_is_not_false(judge) -> None:
    assert judge("EC2UnencryptedEBS", {"VolumeId": "vol-1"}).status == "unknown"
