"""A response's bytes made JSON, whatever they are wrapped in: compression, another encoding, events
of a stream, words around it, an end that is missing."""

import contextlib
import json
import re
import zlib
from typing import Any

MAX_LAYERS, CHUNK_BYTES = 3, 65_536
HANGUL = re.compile("[가-힣]")
# JSON, leniently: a string, also one without an end; a sign; anything else.
TOKEN = re.compile(
    r""""[^"\\]*(?:\\.[^"\\]*)*(?:(?P<end>")|\\?\Z)|[{}\[\],:]|[^\s{}\[\],:"]+""", re.DOTALL
)
OPENING = re.compile(r"[{\[]")
ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
# Server-sent events: what is not data in them.
EVENT = re.compile(r"^data:", re.MULTILINE)
NOT_DATA = re.compile(r"^data: *(?:\[DONE\])?|^(?:event|id|retry):.*|^:.*", re.MULTILINE)


def read_json(content: bytes, charset: str | None = None) -> Any:
    """ValueError where it cannot be read."""
    try:
        return json.loads(decode(inflate(content), charset))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def inflate(content: bytes, *, is_deflate: bool = False) -> bytes:
    """Without gzip or deflate, whether a header tells of it or not; of what broke off, all that
    came."""
    for _ in range(MAX_LAYERS):
        is_zlib = content[:1] == b"x" and int.from_bytes(content[:2]) % 31 == 0
        inflated = b""
        if is_zlib or content[:2] == b"\x1f\x8b":
            # As it begins.
            inflated = _inflated_once(content, zlib.MAX_WBITS | 32)
        elif is_deflate:
            # Deflate may lack the frame that it should have.
            inflated = _inflated_once(content, -zlib.MAX_WBITS)
            is_deflate = False
        if not inflated:
            # Nor is everything zlib that begins like it.
            break
        content = inflated
    return content


def _inflated_once(content: bytes, window_bits: int) -> bytes:
    # Several streams may follow each other; of one that breaks off, what came stays.
    whole, rest = bytearray(), content
    while rest:
        inflating = zlib.decompressobj(window_bits)
        try:
            for start in range(0, len(rest), CHUNK_BYTES):
                whole += inflating.decompress(rest[start : start + CHUNK_BYTES])
        except zlib.error:
            break
        rest = inflating.unused_data
    return bytes(whole)


def decode(content: bytes, charset: str | None) -> str:
    """As UTF-8, 16 or 32 by its first bytes; where that fails, as the header says, or as Korean
    Windows does."""
    detected = json.detect_encoding(content)
    try:
        return content.decode(detected)
    except UnicodeDecodeError as error:
        is_cut = error.reason == "unexpected end of data"
        has_korean = HANGUL.search(content[: error.start].decode(detected, "ignore"))
    encodings = [charset or "unknown"]
    # Korean that is UTF-8 as far as the error is damaged: as CP949, it would be other Korean.
    if not (is_cut or has_korean):
        encodings.append("cp949")
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return content.decode(encoding)
    return content.decode(detected, "replace")


def documents_in(text: str, *, cut_strings: bool) -> tuple[list[Any], bool]:
    """Return the JSON objects and lists in the text, one after the other, and whether the last one
    is cut."""
    if EVENT.search(text):
        text = NOT_DATA.sub("", text.replace("\r", "\n"))
    documents: list[Any] = []
    end: int | None = 0
    while end is not None and (start := OPENING.search(text, end)):
        document, end = _lenient(text, start.start(), cut_strings=cut_strings)
        documents.append(document)
    return documents, end is None


def _lenient(text: str, start: int, *, cut_strings: bool) -> tuple[Any, int | None]:
    """Return the JSON value that begins there and where it ends; of one that is cut, what there is,
    and None."""
    # Python's own reader gives up on those, and on a thousand levels.
    holders: list[Any] = [[]]
    keys: list[str | None] = [None]
    for token in TOKEN.finditer(text, start):
        sign = token[0]
        # One stack for what is open, one for the key that each object waits with.
        if sign in ("}", "]"):
            holders.pop()
            keys.pop()
            if len(holders) == 1:
                return holders[0][0], token.end()
        elif sign == ",":
            keys[-1] = None
        elif sign != ":":
            value = None
            is_cut = sign[0] == '"' and token["end"] is None
            if cut_strings or not is_cut:
                value = _value(sign)
            holder, key = holders[-1], keys[-1]
            if isinstance(holder, list):
                holder.append(value)
            elif key is not None:
                holder[key] = value
            elif isinstance(value, str):
                keys[-1] = value
            if isinstance(value, dict | list):
                holders.append(value)
                keys.append(None)
    return holders[0][0], None


def _value(sign: str) -> Any:
    """Return what the sign stands for: a new object or list, a string, also with odd escapes or
    cut."""
    if sign == "{":
        return {}
    if sign == "[":
        return []
    # Python's own reader knows what most of them are.
    with contextlib.suppress(ValueError):
        return json.loads(sign, strict=False)
    if not sign.startswith('"'):
        return None
    inside = CUT_ESCAPE.sub("", sign[1:].removesuffix('"'))
    plain = ESCAPE.sub(lambda escape: escape[0] if escape[1] else r"\\", inside)
    return json.loads(f'"{plain}"', strict=False)
