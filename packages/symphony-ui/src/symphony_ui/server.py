"""The live page: Starlette on uvicorn, for one person on one machine, behind a token."""

import asyncio
import secrets
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from symphony_ui.analysis._checks import extra
from symphony_ui.control import listed
from symphony_ui.errors import SymphonyError
from symphony_ui.routes import App

if TYPE_CHECKING:
    from symphony_ui.page import Page


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
        except (OSError, OverflowError, TypeError) as error:
            self._socket.close()
            raise SymphonyError(f"cannot listen on {host}, port {port}: {error}") from error
        self.port: int = self._socket.getsockname()[1]
        self.token = secrets.token_urlsafe(32)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self.port}/"
        self.url = f"{self.address}?token={self.token}"
        names = {
            shown,
            *listed(hosts, "hosts"),
            *(("127.0.0.1", "localhost", "[::1]") if is_local(host) else ()),
        }
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
