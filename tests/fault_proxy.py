"""A proxy in front of an emulator that makes calls fail as real networks and real AWS do."""

import asyncio
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD"]
HOP_BY_HOP = {"connection", "transfer-encoding", "content-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True)
class Call:
    """What is known of a call before it is made.

    ``operation`` is empty for REST services such as S3. ``account`` is known from the role that was assumed.
    """

    service: str
    region: str
    operation: str
    account: str
    method: str
    path: str


@dataclass(frozen=True)
class Fault:
    """What happens to a call; without ``status`` it goes through, after ``delay`` seconds."""

    delay: float = 0.0
    status: int | None = None
    code: str = "InternalError"


Rule = Callable[[Call], Fault | None]


@dataclass
class FaultProxy:
    """Where the proxy listens, the rule it follows, and what it saw."""

    url: str = ""
    rule: Rule = lambda _call: None
    seen: Counter[Call] = field(default_factory=Counter)
    failed: Counter[Call] = field(default_factory=Counter)
    _accounts: dict[str, str] = field(default_factory=dict)

    def well(self) -> None:
        """No faults from now on."""
        self.rule = lambda _call: None
        self.seen.clear()
        self.failed.clear()

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        call = self._call(request, body)
        self.seen[call] += 1
        fault = self.rule(call) or Fault()
        await asyncio.sleep(fault.delay)
        if fault.status:
            self.failed[call] += 1
            return _error(call, fault)
        answer = await self._upstream.request(
            request.method, str(request.url.replace(netloc=self._target)), content=body, headers=_kept(request.headers)
        )
        if call.operation == "AssumeRole":
            self._remember(body, answer.text)
        return Response(answer.content, answer.status_code, _kept(answer.headers))

    def _call(self, request: Request, body: bytes) -> Call:
        signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/", request.headers.get("authorization", ""))
        key, region, service = signed.groups() if signed else ("", "", "")
        target = request.headers.get("x-amz-target", "")
        operation = target.rpartition(".")[2] or parse_qs(body.decode("latin1")).get("Action", [""])[0]
        account = self._accounts.get(key, "")
        if operation == "AssumeRole":
            account = re.findall(r"\d{12}", parse_qs(body.decode())["RoleArn"][0])[0]
        return Call(service, region, operation, account, request.method, request.url.path)

    def _remember(self, body: bytes, answer: str) -> None:
        key = re.search(r"<AccessKeyId>(.*?)</AccessKeyId>", answer)
        if key:
            self._accounts[key.group(1)] = re.findall(r"\d{12}", parse_qs(body.decode())["RoleArn"][0])[0]

    @contextmanager
    def running(self, target: str) -> Iterator["FaultProxy"]:
        """Listen on a free port, in front of ``target``, until the context ends."""
        self._target = target.removeprefix("http://")
        self._upstream = httpx.AsyncClient(timeout=60)
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=METHODS)])
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline, "the proxy did not start"
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.force_exit = server.should_exit = True
            thread.join(10)


def sometimes(share: float, fault: Fault, seed: int = 1) -> Rule:
    """``fault`` for a share of all calls, drawn by lot."""
    lots = random.Random(seed)
    return lambda _call: fault if lots.random() < share else None


def _kept(headers: httpx.Headers | object) -> dict[str, str]:
    return {name: value for name, value in dict(headers).items() if name.lower() not in HOP_BY_HOP}  # type: ignore[call-overload]


def _error(call: Call, fault: Fault) -> Response:
    """An error in the form that the service's protocol has."""
    if call.service == "dynamodb":
        body = f'{{"__type": "com.amazonaws.dynamodb.v20120810#{fault.code}", "message": "by the proxy"}}'
        return Response(body, fault.status or 500, media_type="application/x-amz-json-1.0")
    inner = f"<Code>{fault.code}</Code><Message>by the proxy</Message>"
    if call.service in ("s3", "s3-control"):
        body = f"<Error>{inner}</Error>"
    elif call.service == "ec2":
        body = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>1</RequestID></Response>"
    else:
        body = f"<ErrorResponse><Error>{inner}</Error><RequestId>1</RequestId></ErrorResponse>"
    return Response(body, fault.status or 500, media_type="text/xml")
