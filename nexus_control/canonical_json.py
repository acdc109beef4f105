"""One spelling of JSON for hashing, and one strict way of reading it.

Writing: `json.dumps(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)`, byte for byte,
as nexus-control 0.5-1.0 wrote it. That is not RFC 8785: integral floats (`1.0`), exponents, and the order of keys
beyond U+FFFF differ. Values that two languages would read differently are therefore refused before they are
written (`require_canonical_domain`); in what remains the two spellings agree.

Reading (`parse_json`): UTF-8 without BOM, no duplicate keys, no NaN or Infinity, no lone surrogates, integers of
at most 64 bits, numbers that a double holds, at most `MAX_DEPTH` levels of nesting. An artifact wraps what was
written in levels of its own, so its readers allow `MAX_ARTIFACT_DEPTH`.
"""

import json
import json.encoder
import math
import re
from collections.abc import Callable, Iterable, Sequence
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, NoReturn, cast

from nexus_control.errors import ErrorCode, NexusControlError

MAX_DEPTH = 64
MAX_ARTIFACT_DEPTH = MAX_DEPTH + 16
MAX_SAFE_INTEGER = 2**53 - 1
MAX_TEXT_BYTES = 64 * 1024 * 1024

_ITEMS: dict[type[object], Callable[[Any], Iterable[object]]] = {dict: dict[str, object].values, list: iter}
_LEAVES = frozenset((str, bool, type(None)))
_SAMPLE: dict[str, object] = {"b": [1, 0.5, None, True, "\u00e9\n"], "a": {}}
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
C_ENCODER: Any = getattr(json.encoder, "c_make_encoder", None)
"""The interpreter's own encoder, where it has one."""


def encoding_by(make: Any, encoder: json.JSONEncoder = _CANONICAL) -> Callable[[object], str]:
    """What writes the text of an encoder with sorted keys and no indent, by `make` where it is there and does."""
    if make is None:
        return encoder.encode
    # `encode` makes one at each call, which takes as long as a payload. It does not remember what it is in: a
    # value that contains itself ends as one that is nested too deep.
    # Its arguments are CPython's own affair: where they or what comes of them are others, `encode` writes.
    try:
        texts = encode_basestring_ascii if encoder.ensure_ascii else encode_basestring
        between = encoder.key_separator, encoder.item_separator
        chunks = make(None, encoder.default, texts, None, *between, True, False, encoder.allow_nan)
        if "".join(chunks(_SAMPLE, 0)) != encoder.encode(_SAMPLE):
            return encoder.encode
    except (TypeError, ValueError):
        return encoder.encode
    return lambda obj: "".join(chunks(obj, 0))


_encode = encoding_by(C_ENCODER)


def canonical_json(obj: object) -> str:
    """The canonical text of `obj`. Raises JSON_INVALID for a value that JSON cannot express."""
    try:
        return _encode(obj)
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(f"not representable as JSON ({type(error).__name__})") from error


def require_canonical_domain(
    obj: object, *, where: str = "value", max_bytes: int, fractions: bool = False, depth: int = 1
) -> str:
    """The canonical text of `obj`, if every language reads it alike; otherwise JSON_INVALID.

    Refused: keys that are not strings, floats, integers beyond 2^53-1, lone surrogates, more than `MAX_DEPTH`
    levels, more than `max_bytes` bytes of UTF-8, and anything that is not JSON. With `fractions` finite floats are
    accepted: for values that are only ever kept and hashed as this text. The value itself is at level `depth`.
    """
    require_domain(obj, where, depth, fractions=fractions)
    text = canonical_json(obj)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _invalid(f"{where} holds a lone surrogate") from None
    if size > max_bytes:
        raise _invalid(f"{where} is {size} bytes; the limit is {max_bytes}", limit=max_bytes)
    return text


def parse_json(
    text: str | bytes, *, max_bytes: int = MAX_TEXT_BYTES, max_depth: int = MAX_DEPTH, canonical: bool = False
) -> object:
    """The value that `text` spells, read strictly. Raises JSON_INVALID. A text that `canonical_json` just wrote is
    `canonical`: no key is twice in it, and each number is finite.
    """
    decoded = _decode_utf8(text, max_bytes)
    try:
        value: object = json.loads(decoded, parse_int=_integer, **({} if canonical else _STRICT))
    except json.JSONDecodeError as error:
        raise _invalid(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _invalid(f"nested deeper than {max_depth} levels") from None
    _require_shallow(value, max_depth)
    if not canonical and _SURROGATE_ESCAPE.search(
        decoded
    ):  # text decoded from UTF-8 can hold a surrogate only as an escape
        _require_encodable(value)
    return value


def parse_json_object(text: str | bytes) -> dict[str, object]:
    """Like `parse_json`, for a text that must spell an object."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise _invalid("not a JSON object")
    return cast("dict[str, object]", value)


def require_domain(obj: object, where: str, depth: int = 1, *, fractions: bool = False) -> None:
    """The part of `require_canonical_domain` that looks at each value. It does not check surrogates and size."""
    if obj is None or isinstance(obj, str | bool):
        return
    if isinstance(obj, int):
        if abs(obj) > MAX_SAFE_INTEGER:
            raise _invalid(f"{where} holds an integer beyond 2^53-1")
        return
    if fractions and isinstance(obj, float):
        if not math.isfinite(obj):
            raise _invalid(f"{where} holds {obj}, which is not a JSON number")
        return
    if depth > MAX_DEPTH:
        raise _invalid(f"{where} is nested deeper than {MAX_DEPTH} levels")
    values: Iterable[object]
    if isinstance(obj, dict):
        whole = cast("dict[object, object]", obj)
        if set(map(type, whole)) - {str} and not all(isinstance(key, str) for key in whole):
            raise _invalid(f"{where} holds a key that is not a string")
        values = whole.values()
    elif isinstance(obj, list | tuple):
        values = cast("Sequence[object]", obj)
    else:
        raise _invalid(f"{where} holds a {type(obj).__name__}; use text, integers, lists and objects")
    for value in values:
        if type(value) not in _LEAVES:  # most values are leaves: a call for each would take most of the time
            require_domain(value, where, depth + 1, fractions=fractions)


def _decode_utf8(text: str | bytes, max_bytes: int) -> str:
    try:
        raw = text.encode() if isinstance(text, str) else text
        decoded = text if isinstance(text, str) else text.decode()
    except UnicodeError:
        raise _invalid("not UTF-8") from None
    if len(raw) > max_bytes:
        raise _invalid(f"{len(raw)} bytes; the limit is {max_bytes}", limit=max_bytes)
    if decoded.startswith("\ufeff"):
        raise _invalid("begins with a byte order mark")
    return decoded


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _invalid("an object has a duplicate key")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise _invalid(f"{name} is not JSON")


def _integer(digits: str) -> int:
    # 20 characters hold every 64-bit integer with its sign; int() of more could take quadratic time.
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**64:
        raise _invalid("an integer does not fit 64 bits")
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _invalid("a number does not fit a double")
    return value


def _require_shallow(value: object, max_depth: int) -> None:
    level = [value] if type(value) in _ITEMS else []
    for _ in range(max_depth):
        if not level:
            return
        level = [child for parent in level for child in _ITEMS[type(parent)](parent) if type(child) in _ITEMS]
    if level:
        raise _invalid(f"nested deeper than {max_depth} levels")


def _require_encodable(value: object) -> None:
    try:
        canonical_json(value).encode()
    except UnicodeEncodeError:
        raise _invalid("holds a lone surrogate") from None


_STRICT: dict[str, Any] = {
    "object_pairs_hook": _unique,
    "parse_constant": _refuse_constant,
    "parse_float": _float,
}


def _invalid(problem: str, **details: object) -> NexusControlError:
    return NexusControlError(ErrorCode.JSON_INVALID, f"Invalid JSON: {problem}", details)
