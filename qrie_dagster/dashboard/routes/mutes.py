"""Mutes: the rules by which findings are set aside."""

from http import HTTPStatus

from fastapi import APIRouter

from qrie_dagster import mute_changes
from qrie_dagster.dashboard.answers import MuteAdded, MuteGiven, MuteRemoved, MuteRow
from qrie_dagster.dashboard.context import Context
from qrie_dagster.mutes import Mute
from qrie_dagster.store.mutes import load_mutes
from qrie_dagster.times import as_ms, iso, now_ms


def routes(context: Context) -> APIRouter:
    """The routes over ``context``."""
    router = APIRouter(tags=["mutes"])

    @router.get("/mutes")
    def mutes() -> list[MuteRow]:
        """The rules, the newest first; those that ended are listed for three months."""
        now = now_ms()
        counts = context.estate().findings.mutes
        rules = sorted(load_mutes(context.store.summary).rules, key=lambda rule: rule.created_ms, reverse=True)
        return [_row(rule, counts.get(rule.id, 0), now) for rule in rules]

    @router.post("/mutes", status_code=HTTPStatus.CREATED)
    def add(given: MuteGiven) -> MuteAdded:
        """Mute the findings that match everything given, now and whenever they turn up."""
        muted = mute_changes.add(
            context.store,
            **given.model_dump(exclude={"expires_at"}),
            expires_ms=as_ms(given.expires_at) if given.expires_at else None,
        )
        row = _row(muted.rule, muted.findings, now_ms())
        return MuteAdded(**row.model_dump(), message=f"{muted.findings} findings are muted by it now.")

    @router.delete("/mutes/{mute_id}")
    def remove(mute_id: str) -> MuteRemoved:
        """Remove a rule; what no other rule mutes counts as open again."""
        muted = mute_changes.remove(context.store, mute_id)
        return MuteRemoved(
            message=f"The mute is removed; {muted.findings} findings count as open again.",
            findings_unmuted=muted.findings,
        )

    return router


def _row(rule: Mute, findings: int, now: int) -> MuteRow:
    return MuteRow(
        id=rule.id,
        reason=rule.reason,
        author=rule.author,
        created_at=iso(rule.created_ms),
        expires_at=iso(rule.expires_ms),
        ended=not rule.holds(now),
        policy=rule.policy,
        account_id=rule.account_id,
        tags=rule.tags,
        arn=rule.arn,
        findings=findings,
    )
