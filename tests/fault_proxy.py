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
from typing import Literal
from urllib.parse import parse_qs

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

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
    """What happens to a call; with nothing but a ``delay`` (seconds) it goes through, that much later.

    ``status`` and ``code`` are an answer of AWS's. A connection that is ``reset`` ends without one, AWS having done
    nothing; an answer that is ``torn`` ends in the middle, one that is ``emptied`` after its headers, AWS having done
    all of it. With ``text``, somebody else answers, with a status of 200.
    """

    delay: float = 0.0
    status: int | None = None
    code: str = "InternalError"
    cut: Literal["reset", "torn", "emptied"] | None = None
    text: str | None = None


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

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        call = self._call(request, body)
        self.seen[call] += 1
        fault = self.rule(call) or Fault()
        self.failed[call] += bool(fault.status or fault.cut or fault.text is not None)
        await asyncio.sleep(fault.delay)
        # An ASGI application has no word for it: the connection is that of the server behind ``send``.
        connection = send.__self__.transport  # type: ignore[attr-defined]
        if fault.cut == "reset":
            connection.abort()
            return
        if fault.text is not None:
            await Response(fault.text, media_type="application/xml")(scope, receive, send)
            return
        answer = _error(call, fault) if fault.status else await self._answer(call, request, body)
        if fault.cut:
            await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
            left = bytes(answer.body)[: len(answer.body) // 2] if fault.cut == "torn" else b""
            await send({"type": "http.response.body", "body": left, "more_body": True})
            connection.close()
            return
        await answer(scope, receive, send)

    async def _answer(self, call: Call, request: Request, body: bytes) -> Response:
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
        server = uvicorn.Server(
            uvicorn.Config(self._serve, port=0, interface="asgi3", log_level="critical", lifespan="off")
        )
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


def sometimes(share: float, *faults: Fault, seed: int = 1) -> Rule:
    """One of ``faults`` for a share of all calls, drawn by lot."""
    lots = random.Random(seed)
    return lambda _call: lots.choice(faults) if lots.random() < share else None


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
