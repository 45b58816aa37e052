"""The live page: Starlette on uvicorn, for one person on one machine, behind a token."""

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from symphony_ui.analysis._checks import extra
from symphony_ui.errors import MediaError, SymphonyError
from symphony_ui.html import asset, inline_json
from symphony_ui.sniff import SHOWN

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from symphony_ui.page import Page

BODY = 1_000_000  # bytes of a request, and two more a row: a selection may name them all
PATIENCE = 10.0  # seconds for a body to arrive
PING = 15.0  # seconds between signs of life on the event stream
BEHIND = 1000  # messages that a client may leave unread
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
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


class Server:
    """A page that is being served; made by ``Page.serve``.

    Args:
        page: to serve.
        host: the address to listen on.
        port: 0 takes a free one.
        hosts: more names under which the page may be asked for.
        open_browser: opens it.

    Attributes:
        url: where the page is, with the token that lets one in.
    """

    def __init__(
        self,
        page: "Page",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        hosts: Sequence[str] = (),
        open_browser: bool = False,
    ) -> None:
        uvicorn = extra("uvicorn", "a live page", "serve")
        extra("starlette", "a live page", "serve")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            self._socket.listen(128)  # from now on clients wait, and are not turned away
        except OSError as error:
            self._socket.close()
            raise SymphonyError(f"cannot listen on {host}, port {port}: {error}") from error
        self.port: int = self._socket.getsockname()[1]
        self.token = secrets.token_urlsafe(32)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self.port}/"
        self.url = f"{self.address}?token={self.token}"
        names = {shown, *hosts, *(("127.0.0.1", "localhost", "[::1]") if is_local(host) else ())}
        self._app = App(page, self.token, self.port, names)
        config = uvicorn.Config(
            self._app.asgi, log_level="warning", access_log=False, server_header=False,
            timeout_keep_alive=5, timeout_graceful_shutdown=2, lifespan="off", ws="none",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="symphony-ui", daemon=True)
        self._thread.start()
        self._app.started.wait(10)
        if open_browser:
            import webbrowser

            webbrowser.open(self.url)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._app.loop = asyncio.get_running_loop()
        self._app.started.set()
        await self._server.serve(sockets=[self._socket])

    def close(self) -> None:
        """Stops serving and frees the port."""
        self._app.close()
        self._server.should_exit = True
        self._thread.join(timeout=15)
        self._socket.close()

    def wait(self) -> None:
        """Serves until the process is interrupted."""
        try:
            while self._thread.is_alive():
                self._thread.join(0.5)
        finally:
            self.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Server({self.url})"


def is_local(host: str) -> bool:
    """Whether an address is this machine's own."""
    return host in ("127.0.0.1", "localhost", "::1")


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
        spec["custom"] = {name: {} for name in spec["custom"]}
        return respond(inline_json(spec).encode(), "application/json")

    async def _block(self, request: "Request") -> "Response":
        name = request.path_params["name"]
        body = await self._in_thread(lambda: self.page.block(name))
        return refuse(404, "no such block") if body is None else respond(body, ARROW)

    async def _custom(self, request: "Request") -> "Response":
        name = request.path_params["name"].removesuffix(".js")
        text = self.page.all_modules().get(name)
        return refuse(404, "no such module") if text is None else respond(text.encode(), "text/javascript")

    async def _media(self, request: "Request") -> "Response":
        at, row = request.path_params["column"], request.path_params["row"]
        table = self.page.table
        if table is None or not at < len(table.columns) or not row < table.rows:
            return refuse(404, "no such row")
        column = table.media.get(table.columns[at].name)
        item = None if column is None else await self._in_thread(lambda: column.item(row))
        if item is None or item[0] not in SHOWN:
            return refuse(404, "this row has none")
        return ranged(request.headers.get("range"), item[1], item[0])

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
        if self.loop is not None and not self._closed:
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


ARROW = "application/vnd.apache.arrow.stream"


def respond(body: bytes, kind: str, status: int = 200, **headers: str) -> "Response":
    """A response of bytes with the headers that all have."""
    from starlette.responses import Response

    return Response(body, status, {**HEADERS, **headers}, media_type=kind)


def refuse(status: int, text: str) -> "Response":
    """A response that says why there is no other."""
    return respond(text.encode(), "text/plain", status)


def ranged(wanted: str | None, body: bytes, kind: str) -> "Response":
    """The bytes, or the one range of them that was asked for."""
    if wanted is None or not wanted.startswith("bytes=") or "," in wanted:
        return respond(body, kind, **{"Accept-Ranges": "bytes"})
    first, _, last = wanted.removeprefix("bytes=").strip().partition("-")
    if not (first + last).isdecimal() or len(first + last) > 30:
        return respond(body, kind, **{"Accept-Ranges": "bytes"})
    start = int(first) if first else max(0, len(body) - int(last))
    end = min(int(last) if first and last else len(body) - 1, len(body) - 1)
    if start > end:
        return respond(b"", kind, 416, **{"Content-Range": f"bytes */{len(body)}"})
    span = {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{end}/{len(body)}"}
    return respond(body[start : end + 1], kind, 206, **span)


class Guard:
    """Lets in who came to the right host, from the page itself, with the token."""

    def __init__(self, app: "ASGIApp", token: str, port: int, names: set[str], most: int) -> None:
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        bare = sorted(name.strip("[]") if name.startswith("[") else name for name in names)
        self.app: ASGIApp = TrustedHostMiddleware(app, bare, www_redirect=False)
        self.token = token
        self.most = most
        self.cookie = f"symphony-{port}"
        self.hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http":
            return
        from starlette.requests import Request

        request = Request(scope)
        refused = self._refusal(request)
        if refused is not None:
            await refused(scope, receive, send)
        elif "token" in request.query_params:
            await self._let_in(request)(scope, receive, send)
        else:
            await self.app(scope, self._limited(receive), send)

    def _refusal(self, request: "Request") -> "Response | None":
        if request.headers.get("host", "").lower() not in self.hosts:
            return refuse(403, "this page is not served under that host")
        held = request.query_params.get("token") or request.cookies.get(self.cookie, "")
        if not secrets.compare_digest(held.encode(), self.token.encode()):
            return refuse(403, "open the address that Python printed: it has the token")
        if request.method not in ("GET", "HEAD", "POST"):
            return refuse(405, "GET, HEAD or POST")
        if request.method == "POST":
            return self._post_refusal(request)
        return None

    def _post_refusal(self, request: "Request") -> "Response | None":
        if request.headers.get("origin", "").lower() not in self.origins:
            return refuse(403, "only the page itself may change it")
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            return refuse(415, "JSON only")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.most:
            return refuse(413, f"at most {self.most} bytes")
        return None

    def _let_in(self, request: "Request") -> "Response":
        """The token becomes a cookie and leaves the address."""
        from starlette.responses import RedirectResponse

        path = urlsplit(str(request.url)).path
        answer = RedirectResponse(path if path == "/" else "/", 303, headers=HEADERS)
        answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        return answer

    def _limited(self, receive: "Receive") -> "Receive":
        """Bodies that say no length, or a wrong one, end at the limit too."""
        seen = 0

        async def limited() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            return message if seen <= self.most else {"type": "http.disconnect"}

        return limited


