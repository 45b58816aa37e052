"""Who is let in to the live page: by the right host, from the page itself, with the token."""

import secrets
from typing import TYPE_CHECKING, Any

from symphony_ui.responses import HEADERS, refuse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send


class Guard:
    """Lets in who came to the right host, from the page itself, with the token."""

    def __init__(self, app: "ASGIApp", token: str, port: int, names: set[str], most: int) -> None:
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        names = {name.lower() for name in names}
        known = sorted(names | {name.strip("[]") for name in names})
        self.app: ASGIApp = TrustedHostMiddleware(app, known, www_redirect=False)
        self.token = token
        self.most = most
        self.cookie = f"symphony-{port}"
        self.hosts = {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answers a request, or hands it on to the app."""
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

        answer = RedirectResponse("/", 303, headers=HEADERS)
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
