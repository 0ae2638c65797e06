"""Telling people what changed, each transition once."""

from dagster import DefaultSensorStatus, SensorEvaluationContext, SkipReason, sensor

from qrie_dagster.alerting import look
from qrie_dagster.defs.resources import StoreResource
from qrie_dagster.errors import NotDeliveredError
from qrie_dagster.notify import channels
from qrie_dagster.settings import settings
from qrie_dagster.times import now_ms


@sensor(
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING if settings().alerts_wanted else DefaultSensorStatus.STOPPED,
    description=(
        "Tells when drift begins and ends, accounts grow stale, scans fail and critical findings appear."
        " A tick that fails says who could not be told; it is tried again."
    ),
)
def alerts(context: SensorEvaluationContext, store: StoreResource) -> SkipReason:
    """Never launches a run. Raises NotDeliveredError when a channel did not take a message."""
    to_tell = channels(settings())
    if not to_tell:
        return SkipReason("There is nobody to tell: set QRIE_ALERT_SNS_TOPIC_ARN or QRIE_ALERT_URLS.")
    told = look(store.open(), settings(), to_tell, now_ms())
    if told.failed:
        raise NotDeliveredError(f"Alerts could not be delivered to {'; '.join(told.failed)}")
    sent = [f"told {name} of {count} changes" for name, count in told.sent.items()]
    if sent:
        context.log.info("%s", "; ".join(sent))
    waiting = [f"{told.waiting} wait"] if told.waiting else []
    return SkipReason("; ".join([*told.trouble, *sent, *waiting]) or "Nothing changed.")
