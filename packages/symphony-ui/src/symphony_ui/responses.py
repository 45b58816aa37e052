"""What the live page answers with: bytes under headers that let nothing else in."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import Response

NONE: Mapping[str, str] = MappingProxyType({})
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


def respond(
    body: bytes, kind: str, status: int = 200, headers: Mapping[str, str] = NONE
) -> "Response":
    """A response of bytes with the headers that all have."""
    from starlette.responses import Response

    return Response(body, status, {**HEADERS, **headers}, media_type=kind)


def refuse(status: int, text: str) -> "Response":
    """A response that says why there is no other."""
    return respond(text.encode(), "text/plain", status)


def ranged(
    wanted: str | None, body: bytes, kind: str, headers: Mapping[str, str] = NONE
) -> "Response":
    """The bytes, or the one range of them that was asked for."""
    headers = {"Accept-Ranges": "bytes", **headers}
    if wanted is None or not wanted.startswith("bytes="):
        return respond(body, kind, headers=headers)
    first, _, last = wanted.removeprefix("bytes=").strip().partition("-")
    if not (first + last).isdecimal() or len(first + last) > 30:
        return respond(body, kind, headers=headers)
    start = int(first) if first else max(0, len(body) - int(last))
    end = min(int(last) if first and last else len(body) - 1, len(body) - 1)
    if start > end:
        return respond(b"", kind, 416, {**headers, "Content-Range": f"bytes */{len(body)}"})
    headers = {**headers, "Content-Range": f"bytes {start}-{end}/{len(body)}"}
    return respond(body[start : end + 1], kind, 206, headers)
