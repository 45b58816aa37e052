"""What bytes are, by how they begin; the list of what a page may show."""

MAGIC = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (0, b"BM", "image/bmp"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (8, b"WAVE", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (4, b"ftypM4A", "audio/mp4"),
)
WEB = ("image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp", "image/avif")
SHOWN = (
    *WEB, "image/svg+xml", "audio/wav", "audio/mpeg", "audio/ogg", "audio/flac", "audio/mp4",
    "text/plain",
)  # fmt: skip
ENDINGS = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif",
    "webp": "image/webp", "bmp": "image/bmp", "svg": "image/svg+xml", "tif": "image/tiff",
    "tiff": "image/tiff", "avif": "image/avif", "wav": "audio/wav", "mp3": "audio/mpeg",
    "ogg": "audio/ogg", "flac": "audio/flac", "m4a": "audio/mp4",
}  # fmt: skip


def mime_of(raw: bytes | str) -> str | None:
    """The mime type of an image's or a sound's bytes, or of a path by its ending; None: neither.

    Example:
        >>> mime_of(b"GIF89a"), mime_of("a/b.PNG"), mime_of(b"%PDF")
        ('image/gif', 'image/png', None)
    """
    if isinstance(raw, str):
        return ENDINGS.get(raw.rpartition(".")[2].lower())
    for at, magic, mime in MAGIC:
        if raw[at : at + len(magic)] == magic:
            return mime
    head = raw[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<svg") or (
        head.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg")) and b"<svg" in head
    ):
        return "image/svg+xml"
    return None
