"""The text of a snapshot as it is kept: compressed, in letters that every server keeps, and with a checksum."""

from __future__ import annotations

from coordinator.models.errors import InvalidData
from coordinator.models.shapes import Record
from coordinator.services import transfer


def packed(text: str) -> str:
    """What is kept of an export's text."""
    import base64
    import zlib

    return base64.b64encode(zlib.compress(text.encode("utf-8"), 6)).decode("ascii")


def unpacked(content: str) -> Record:
    """The export again. InvalidData when it cannot be unpacked."""
    import base64
    import zlib

    try:
        text = zlib.decompress(base64.b64decode(content, validate=True)).decode("utf-8")
    except (ValueError, zlib.error):
        raise InvalidData("the snapshot is damaged: it cannot be unpacked", hint="take another one") from None
    return transfer.parse(text)


def digest(content: str) -> str:
    """The checksum over what is kept: found out without unpacking it."""
    import hashlib

    return f"sha256:{hashlib.sha256(content.encode('utf-8', 'surrogateescape')).hexdigest()}"
