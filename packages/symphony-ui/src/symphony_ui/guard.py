"""Who is let in to the live page, and the headers that every answer has."""

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

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
        """Passes a request on, or refuses it."""
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
