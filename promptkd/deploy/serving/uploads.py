"""The bytes of an image out of a request's body: the body itself, a part of a form, or base64 in JSON.

Nothing but these bytes is used: file names, addresses and paths that a client sends are not looked at.
"""

from __future__ import annotations

import base64
import binascii
from email.message import Message

from promptkd.bounded import parse_json
from promptkd.deploy.serving.limits import RefusalError
from promptkd.texts import clipped

FIELD = "image"  # of a form, and of JSON
PARTS = 8  # of a form, that are looked at
_HEAD = 4096  # bytes of the head of a part
JSON_VALUES = 100


def image_bytes(content_type: str, body: bytes, most: int) -> bytes:
    """The content of the image file in a request's body.

    Args:
        content_type: the request's header.
        body: of the request, whole.
        most: bytes that the file may have.

    Raises:
        RefusalError: 400, the body is not what its type says; 413, the file is too large; 415, another type.
    """
    header = Message()
    header["content-type"] = content_type
    kind = header.get_content_type()
    if kind == "multipart/form-data":
        content = _part(body, str(header.get_param("boundary") or ""))
    elif kind == "application/json":
        content = _decoded(body)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        content = body
    else:
        raise RefusalError(
            415,
            "type",
            f"Content-Type {clipped(content_type, 60)!r}: send multipart/form-data with a part {FIELD!r}, "
            f'application/json as {{"{FIELD}": "<base64>"}}, or the file itself as image/*',
        )
    if len(content) > most:
        raise RefusalError(413, "size", f"the image has {len(content):,} bytes: at most {most:,} are read")
    if not content:
        raise RefusalError(400, "body", "the image is empty")
    return content


def _decoded(body: bytes) -> bytes:
    """The bytes in {"image": "<base64>"}."""
    wanted = f'{{"{FIELD}": "<base64 of the file>"}}'
    try:
        value = parse_json(body.decode("utf-8"), "the body", JSON_VALUES)
    except ValueError as error:
        raise RefusalError(400, "body", clipped(error)) from None
    text = value.get(FIELD) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise RefusalError(400, "body", f"the body is JSON of another form: {wanted} is wanted")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RefusalError(
            400, "body", f"{FIELD} is not base64: {wanted} is wanted; addresses and paths are not opened"
        ) from None


def _part(body: bytes, boundary: str) -> bytes:
    """The content of a form's part that is called "image" (RFC 7578, and RFC 2046 for the boundary)."""
    line = b"--" + boundary.encode("latin-1", "replace")
    if not 1 <= len(boundary) <= 70 or not body.startswith(line + b"\r\n"):
        raise RefusalError(400, "body", "the form does not begin with its boundary")
    start = len(line) + 2
    for _ in range(PARTS):
        end = body.find(b"\r\n" + line, start)
        head_end = body.find(b"\r\n\r\n", start, start + _HEAD)
        if end < 0 or not start <= head_end <= end:
            raise RefusalError(400, "body", "the form is cut off, or a part of it has no head")
        head = Message()
        for field in body[start:head_end].decode("utf-8", "replace").split("\r\n"):
            name, _, value = field.partition(":")
            if name.strip().lower() == "content-disposition":
                head["content-disposition"] = value.strip()
        if head.get_param("name", header="content-disposition") == FIELD:
            return body[head_end + 4 : end]
        start = end + 2 + len(line)
        if body[start : start + 2] == b"--":
            break
        start += 2
    raise RefusalError(400, "body", f"the form has no part with the name {FIELD!r} among its first {PARTS}")
