"""Where a thing is shown elsewhere: in the AWS console, and in Dagster."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}

# By service and the first part of what an ARN names; {name} is the rest of it.
_PAGES: Mapping[tuple[str, str], str] = {
    ("s3", ""): "/s3/buckets/{name}",
    ("ec2", "instance"): "/ec2/home#InstanceDetails:instanceId={name}",
    ("ec2", "volume"): "/ec2/home#VolumeDetails:volumeId={name}",
    ("ec2", "snapshot"): "/ec2/home#SnapshotDetails:snapshotId={name}",
    ("ec2", "security-group"): "/ec2/home#SecurityGroup:groupId={name}",
    ("ec2", "vpc"): "/vpcconsole/home#VpcDetails:VpcId={name}",
    ("ec2", "subnet"): "/vpcconsole/home#SubnetDetails:subnetId={name}",
    ("iam", "user"): "/iam/home#/users/details/{leaf}",
    ("iam", "role"): "/iam/home#/roles/details/{leaf}",
    ("iam", "group"): "/iam/home#/groups/details/{leaf}",
    ("iam", "policy"): "/iam/home#/policies/details/{arn}",
    ("iam", "root"): "/iam/home#/security_credentials",
    ("rds", "db"): "/rds/home#database:id={name};is-cluster=false",
    ("rds", "cluster"): "/rds/home#database:id={name};is-cluster=true",
}


def console_url(arn: str) -> str | None:
    """The page of a resource in the AWS console, None where qrie does not know it."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or parts[1] not in CONSOLES:
        return None
    _, partition, service, region, _, path = parts
    kind, name = _kind_and_name(path)
    page = _PAGES.get((service, kind))
    if page is None or not (name or kind == "root"):
        return None
    filled = page.format(name=quote(name), leaf=quote(name.rsplit("/", 1)[-1]), arn=quote(arn, safe=""))
    host = CONSOLES[partition]
    if not region:
        return f"https://{host}{filled}"
    path_, separator, fragment = filled.partition("#")
    return f"https://{region}.{host}{path_}?region={region}{separator}{fragment}"


def _kind_and_name(path: str) -> tuple[str, str]:
    for separator in "/:":
        if separator in path:
            kind, _, name = path.partition(separator)
            return kind, name
    return ("root", "") if path == "root" else ("", path)


def asset_url(dagster_url: str, key: str, account_id: str) -> str:
    """The account's partition of an asset in Dagster."""
    query = urlencode({"view": "partitions", "partition": account_id})
    return f"{dagster_url}/assets/{key}?{query}"
