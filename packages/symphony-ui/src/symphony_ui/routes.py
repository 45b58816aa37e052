"""The routes of the live page, and the clients that hear of its changes."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from symphony_ui.errors import MediaError, SymphonyError
from symphony_ui.guard import Guard
from symphony_ui.html import ARROW, asset, inline_json
from symphony_ui.responses import HEADERS, ranged, refuse, respond
from symphony_ui.sniff import SHOWN

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from symphony_ui.page import Page

# an image is shown in the page; opened by itself, as a document, it may run nothing
APART = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
BODY = 1_000_000  # bytes of a request, and two more a row: a selection may name them all
PATIENCE = 10.0  # seconds for a body to arrive
PING = 15.0  # seconds between signs of life on the event stream
BEHIND = 1000  # messages that a client may leave unread
DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Page</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="symphony.css">
</head>
<body>
<div id="symphony-page" class="symphony"></div>
<script type="module" src="symphony.js"></script>
</body>
</html>
"""


class App:
    """The routes of one page, and the clients that hear of its changes."""

    def __init__(self, page: "Page", token: str, port: int, names: set[str]) -> None:
        self.page = page
        self.started = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._clients: set[asyncio.Queue[str | None]] = set()
        self._closed = False
        self._end = page.session.listen(self._tell)
        self.asgi: ASGIApp = Guard(self._routes(), token, port, names, BODY + 2 * page.rows)

    def _routes(self) -> "Starlette":
        from starlette.applications import Starlette
        from starlette.routing import Route

        def get(path: str, answer: Callable[["Request"], Any]) -> Route:
            return Route(path, answer, methods=["GET"])

        def post(path: str, answer: Callable[["Request"], Any]) -> Route:
            return Route(path, answer, methods=["POST"])

        return Starlette(
            routes=[
                get("/", self._document),
                get("/symphony.js", self._script),
                get("/symphony.css", self._style),
                get("/spec", self._spec),
                get("/block/{name:path}", self._block),
                get("/m/{column:int}/{row:int}", self._media),
                get("/custom/{name}", self._custom),
                get("/events", self._events),
                post("/state", self._state),
                post("/query", self._query),
                post("/annotations", self._annotations),
            ]
        )

    # what is read

    async def _document(self, request: "Request") -> "Response":
        return respond(DOCUMENT.encode(), "text/html")

    async def _script(self, request: "Request") -> "Response":
        return respond(asset("symphony.js").encode(), "text/javascript")

    async def _style(self, request: "Request") -> "Response":
        return respond(asset("symphony.css").encode(), "text/css")

    async def _spec(self, request: "Request") -> "Response":
        spec = self.page.spec("live")
        spec["custom"] = {name: dict[str, str]() for name in spec["custom"]}
        return respond(inline_json(spec).encode(), "application/json")

    async def _block(self, request: "Request") -> "Response":
        name = request.path_params["name"]
        body = await self._in_thread(lambda: self.page.block(name))
        return refuse(404, "no such block") if body is None else respond(body, ARROW)

    async def _custom(self, request: "Request") -> "Response":
        name = request.path_params["name"].removesuffix(".js")
        text = self.page.all_modules().get(name)
        return (
            refuse(404, "no such module")
            if text is None
            else respond(text.encode(), "text/javascript")
        )

    async def _media(self, request: "Request") -> "Response":
        at, row = request.path_params["column"], request.path_params["row"]
        table = self.page.table
        if table is None or not at < len(table.columns) or not row < table.rows:
            return refuse(404, "no such row")
        column = table.media.get(table.columns[at].name)
        item = None if column is None else await self._in_thread(lambda: column.item(row))
        if item is None or item[0] not in SHOWN:
            return refuse(404, "this row has none")
        return ranged(request.headers.get("range"), item[1], item[0], APART)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        """What the work gives, or None where the data do not."""
        from starlette.concurrency import run_in_threadpool

        try:
            return await run_in_threadpool(work)
        except (SymphonyError, MediaError):
            return None

    # what is changed

    async def _state(self, request: "Request") -> "Response":
        return await self._take(request, self.page.session.receive)

    async def _annotations(self, request: "Request") -> "Response":
        return await self._take(request, self.page.session.annotate)

    async def _query(self, request: "Request") -> "Response":
        def answer(body: Any) -> dict[str, Any]:
            body = body if isinstance(body, dict) else {}
            return {"results": self.page.answer(body.get("state"), body.get("queries"))}

        return await self._take(request, answer)

    async def _take(self, request: "Request", work: Callable[[Any], Any]) -> "Response":
        from starlette.concurrency import run_in_threadpool
        from starlette.requests import ClientDisconnect

        try:
            body = json.loads(await asyncio.wait_for(request.body(), PATIENCE))
            found = await run_in_threadpool(work, body)
        except TimeoutError:
            return refuse(408, "the request took too long")
        except ClientDisconnect:
            return refuse(413, "the request is too large, or was broken off")
        except (SymphonyError, ValueError, RecursionError) as error:
            return refuse(400, str(error)[:500])
        return respond(json.dumps(found or {}, allow_nan=False).encode(), "application/json")

    # who hears of it

    def _tell(self, kind: str, message: dict[str, Any]) -> None:
        if self.loop is not None and not self.loop.is_closed() and not self._closed:
            text = f"event: {kind}\ndata: {inline_json(message)}\n\n"
            self.loop.call_soon_threadsafe(self._spread, text)

    def _spread(self, text: str | None) -> None:
        for queue in list(self._clients):
            if text is not None and queue.qsize() >= BEHIND:
                self._clients.discard(queue)  # it connects again, and gets the newest state
                queue.put_nowait(None)
            else:
                queue.put_nowait(text)

    async def _events(self, request: "Request") -> "Response":
        from starlette.responses import StreamingResponse

        if request.method == "HEAD":
            return respond(b"", "text/event-stream")
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers=HEADERS)

    async def _stream(self) -> AsyncIterator[str]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._clients.add(queue)
        try:
            yield f"event: state\ndata: {inline_json(self.page.session.message())}\n\n"
            while not self._closed:
                try:
                    text = await asyncio.wait_for(queue.get(), PING)
                except TimeoutError:
                    text = ": still here\n\n"
                if text is None:
                    return
                yield text
        finally:
            self._clients.discard(queue)

    def close(self) -> None:
        """Ends the streams, so that the server can stop."""
        self._closed = True
        self._end()
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._spread, None)
