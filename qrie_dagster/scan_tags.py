"""The tags that tie Dagster's runs to qrie's scans, and how a scan is cut into runs."""

from collections.abc import Iterable, Iterator, Sequence

SCAN_ID = "qrie/scan_id"
CHUNK = "qrie/chunk"
CHUNKS = "qrie/chunks"
# The kind of scan to launch for the same accounts once this one has ended.
THEN = "qrie/then"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"


def chunk_tags(scan_id: str, partitions: Sequence[str], wanted: Iterable[str], size: int) -> list[dict[str, str]]:
    """The tags of one run per chunk of ``wanted`` accounts, at most ``size`` each.

    A run takes a range of partitions, so a chunk is contiguous in the order of ``partitions``.
    """
    chunks = list(_chunks(partitions, set(wanted), size))
    return [
        {
            SCAN_ID: scan_id,
            CHUNK: str(number),
            CHUNKS: str(len(chunks)),
            RANGE_START: chunk[0],
            RANGE_END: chunk[-1],
        }
        for number, chunk in enumerate(chunks)
    ]


def _chunks(partitions: Sequence[str], wanted: set[str], size: int) -> Iterator[list[str]]:
    chunk: list[str] = []
    for partition in partitions:
        if chunk and (partition not in wanted or len(chunk) == size):
            yield chunk
            chunk = []
        if partition in wanted:
            chunk.append(partition)
    if chunk:
        yield chunk
