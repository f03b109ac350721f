"""Whatever a 200 holds of a text or an image is read, however odd its wrapping."""

import base64
import contextlib
import gzip
import json
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from generation import refusals
from generation import responses as wire
from generation.results import Usage
from tests.conftest import Service, StandIn

TEXT = "좋은 아침, 당신의 커피 ☕"
USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
DEEP = "[" * 5_000 + "]" * 5_000


def answer(content: Any, finish_reason: Any = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"id": "chatcmpl-1", "model": "gpt-4o", "choices": [choice], "usage": USAGE}


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def nested(text: str, levels: int) -> Any:
    content: Any = text
    for level in range(levels):
        content = [{"type": "text", "text": content}] if level % 2 else {"value": content}
    return content


def pieces(text: str, size: int) -> list[dict[str, Any]]:
    """The chunks of a stream."""
    deltas = [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    chunks = [{"choices": [{"index": 0, "delta": delta}], "usage": None} for delta in deltas]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [*chunks, end, {"choices": [], "usage": USAGE}]


def events(documents: list[Any], end: str = "\n\n") -> str:
    return "".join(f"data: {dumped(each)}{end}" for each in documents) + f"data: [DONE]{end}"


# What gateways make of a good answer.
WRAPPINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: dumped(answer(text)),
    "one event": lambda text: events([answer(text)]),
    "one event, other lines": lambda text: f"event: message\nid: 1\r\n{events([answer(text)])}",
    "an event of many lines": lambda text: "".join(
        f"data: {line}\n" for line in json.dumps(answer(text), indent=1).splitlines()
    ),
    "behind it, the end of a stream": lambda text: dumped(answer(text)) + "\n\ndata: [DONE]\n\n",
    "on its line, the end of a stream": lambda text: dumped(answer(text)) + "data: [DONE]",
    "a stream": lambda text: ": ping\n\n" + events(pieces(text, 3)),
    "a stream with other line ends": lambda text: events(pieces(text, 1), end="\r\n"),
    "a stream without blank lines": lambda text: events(pieces(text, 2), end="\n"),
    "a stream and then the whole": lambda text: events([*pieces(text, 4), answer(text)]),
    "lines of JSON": lambda text: "\n".join(dumped(each) for each in pieces(text, 5)),
    "a list": lambda text: dumped([answer(text)]),
    "an object": lambda text: dumped({"success": True, "data": answer(text)}),
    "objects": lambda text: dumped({"result": {"response": [{"body": answer(text)}]}}),
    "a string": lambda text: dumped(dumped(answer(text))),
    "a string of strings": lambda text: dumped(
        {"body": dumped({"response": dumped(answer(text))})}
    ),
    "a guard in front": lambda text: ")]}',\n" + dumped(answer(text)),
    "a call": lambda text: f"callback({dumped(answer(text))});",
    "deep beside it": lambda text: f'{{"debug": {DEEP}, "data": {dumped(answer(text))}}}',
    "deep content": lambda text: dumped(answer(nested(text, 450))),
    "parts": lambda text: dumped(answer([{"type": "text", "text": text[:1]}, text[1:]])),
    "parts with thoughts": lambda text: dumped(
        answer([{"type": "thinking", "text": "음…"}, {"type": "text", "text": {"value": text}}])
    ),
    "a message that is a string": lambda text: dumped({"choices": [{"message": text}]}),
    "a completion": lambda text: dumped({"choices": [{"text": text}]}),
    "a choice that is a string": lambda text: dumped({"choices": [text]}),
    "a choice that is no list": lambda text: dumped({"choices": answer(text)["choices"][0]}),
    "choices by number": lambda text: dumped({"choices": {"0": answer(text)["choices"][0]}}),
    "a delta": lambda text: dumped({"choices": [{"delta": {"content": text}}]}),
    "a comma too many": lambda text: dumped(answer(text))[:-1] + ",}",
    "an escape of its own": lambda text: dumped(answer(text)).replace('"gpt-4o"', r'"a\x\'"'),
    "a string in a string": lambda text: dumped({"a": dumped(dumped(answer(text)))}),
    "choices in a string": lambda text: dumped({"choices": dumped(answer(text)["choices"])}),
    "a choice in a string": lambda text: dumped({"choices": [dumped(answer(text)["choices"][0])]}),
    "a huge number": lambda text: dumped(answer(text))[:-1] + f', "seed": {"9" * 5_000}}}',
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
COMPRESSIONS: tuple[Callable[[bytes], bytes], ...] = (
    bytes,
    gzip.compress,
    zlib.compress,
    lambda content: gzip.compress(gzip.compress(content)),
    lambda content: gzip.compress(content[:40]) + gzip.compress(content[40:]),
)


STORABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
COPY = st.text(STORABLE).filter(str.strip)


def texts(content: bytes, charset: str | None = None) -> list[str]:
    body = wire.read_result(content, charset, "text")
    return [wire.choice_text(choice) for choice in wire.choices(body)]


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_text_is_read_in_every_wrapping(wrapping: str) -> None:
    assert texts(WRAPPINGS[wrapping](TEXT).encode()) == [TEXT]


@settings(deadline=None, max_examples=300)
@given(
    text=COPY,
    wrapping=st.sampled_from(sorted(WRAPPINGS)),
    encoding=st.sampled_from(ENCODINGS),
    compressed=st.sampled_from(COMPRESSIONS),
    charset=st.sampled_from([None, "utf-8", "cp949", "no such"]),
)
def test_no_wrapping_encoding_or_compression_loses_a_text(
    text: str,
    wrapping: str,
    encoding: str,
    compressed: Callable[[bytes], bytes],
    charset: str | None,
) -> None:
    content = compressed(WRAPPINGS[wrapping](text).encode(encoding))
    assert texts(content, charset) == [text]


@settings(deadline=None)
@given(
    text=COPY,
    wrapping=st.sampled_from(["as it is", "one event", "an object", "objects", "a list"]),
    data=st.data(),
)
def test_of_an_answer_that_is_cut_all_that_came_of_the_text_is_read(
    text: str, wrapping: str, data: st.DataObject
) -> None:
    content = WRAPPINGS[wrapping](text).encode()
    begin = content.index(b'"content": "') + len(b'"content": "')
    at = data.draw(st.integers(begin, len(content)))
    try:
        read = "".join(texts(content[:at]))
    except ValueError:
        read = ""
    came = content[begin:at].decode(errors="ignore")
    written = json.dumps(text, ensure_ascii=False)[1:-1]
    if len(came) >= len(written):
        assert read == text
    else:
        # But for an escape or a character that is cut itself.
        assert text.startswith(read.removesuffix("\N{REPLACEMENT CHARACTER}").removesuffix("?"))
        # Blanks alone are no text.
        assert not read or len(json.dumps(read, ensure_ascii=False)) - 2 >= len(came) - 12


@settings(deadline=None)
@given(junk=st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
@pytest.mark.parametrize("field", ["id", "model", "usage", "error", "object", "finish_reason"])
def test_no_type_of_another_field_loses_a_text(field: str, junk: Any) -> None:
    body = answer(TEXT)
    (body["choices"][0] if field == "finish_reason" else body)[field] = junk
    content = dumped(body).encode(errors="replace")
    assert texts(content) == [TEXT]
    read = wire.read_result(content, None, "text")
    assert wire.text_usage(read) is None or field != "usage"
    assert isinstance(wire.reason(read), str)


@given(st.binary() | st.text().map(str.encode))
def test_anything_else_is_no_result(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert not wire.has_result(wire.read_result(content, None, "text"))


def test_a_text_that_names_choices_is_not_looked_into() -> None:
    text = dumped({"choices": [{"text": "no"}], "usage": {"prompt_tokens": 9}})
    for wrapping in ("as it is", "one event", "an object"):
        body = wire.read_result(WRAPPINGS[wrapping](text).encode(), None, "text")
        assert [wire.choice_text(choice) for choice in wire.choices(body)] == [text]
        usage = wire.text_usage(body)
        assert usage
        assert usage.prompt_tokens == 10


def test_of_several_whole_answers_none_is_lost_and_nobody_knows_their_cost() -> None:
    body = wire.read_result(
        dumped([answer("가"), answer("나"), answer("다")]).encode(), None, "text"
    )
    assert [wire.choice_text(choice) for choice in wire.choices(body)] == ["가", "나", "다"]
    assert wire.text_usage(body) is None


def test_a_wrappers_own_usage_is_not_taken_for_the_answers() -> None:
    body = wire.read_result(
        dumped({"usage": {"quota": 1}, "result": answer(TEXT)}).encode(), None, "text"
    )
    assert wire.text_usage(body) == Usage(10, 20, 30)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (dumped(answer("좋은 아침")).encode("cp949"), "좋은 아침"),
        # A character that is cut does not make the rest of it Korean Windows'.
        (dumped(answer("좋은 아침"))[:-60].encode()[:-1], "좋은 아침"),
        (dumped(answer("좋은 아침")).encode().replace(b"\xec\x95\x84", b"\xff"), "좋은 \ufffd침"),
        (dumped(answer(42)).encode(), "42"),
    ],
)
def test_other_encodings_and_types(content: bytes, text: str) -> None:
    assert texts(content) == [text]


def test_deflate_without_its_frame_is_read_where_the_header_says_so() -> None:
    deflating = zlib.compressobj(wbits=-15)
    content = deflating.compress(dumped(answer(TEXT)).encode()) + deflating.flush()
    body = wire.read_result(content, None, "text", is_deflate=True)
    assert wire.choice_text(wire.choices(body)[0]) == TEXT
    plain = wire.read_result(dumped(answer(TEXT)).encode(), None, "text", is_deflate=True)
    assert plain == answer(TEXT), "and what is not compressed, too"


@pytest.mark.parametrize("wrapping", ["a stream", "lines of JSON", "an object", "one event"])
def test_the_tokens_are_found_beside_it(wrapping: str) -> None:
    body = wire.read_result(WRAPPINGS[wrapping](TEXT).encode(), None, "text")
    assert wire.text_usage(body) == Usage(10, 20, 30)
    assert wire.choices(body)[0]["finish_reason"] == "stop"


def test_several_texts_of_a_stream_keep_their_order() -> None:
    chunks = [
        {"choices": [{"index": index, "delta": {"content": piece}}]}
        for index, piece in [(1, "저"), (0, "아"), (1, "녁"), (0, "침")]
    ]
    assert sorted(texts(events(chunks).encode())) == ["아침", "저녁"]


IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 99).decode()


@pytest.mark.parametrize(
    "content",
    [
        dumped({"data": [{"b64_json": IMAGE}]}),
        dumped({"result": {"data": [{"b64_json": IMAGE}]}}),
        events([{"data": [{"b64_json": IMAGE}]}]),
        events([{"b64_json": "aGFsZg=="}, {"type": "completed", "b64_json": IMAGE}]),
        dumped({"data": {"b64_json": IMAGE}}),
        dumped({"data": [{"b64_json": IMAGE}]})[:-3],
        dumped({"url": "http://gateway/v1", "response": {"data": [{"b64_json": IMAGE}]}}),
        dumped({"data": {"images": [{"b64_json": IMAGE}]}, "docs": {"url": "https://docs"}}),
        dumped({"body": dumped({"data": [{"b64_json": IMAGE, "url": "https://elsewhere"}]})}),
    ],
)
def test_an_image_is_read_in_its_wrapping(content: str) -> None:
    found = wire.image(wire.read_result(content.encode(), None, "image"))
    assert found["b64_json"] == IMAGE


@pytest.mark.parametrize(
    "body", [{"docs": {"url": "https://docs"}}, {"error": {"url": "https://docs", "message": "no"}}]
)
def test_not_every_address_is_an_image(body: Any) -> None:
    assert wire.image(wire.read_result(dumped(body).encode(), None, "image")) is None


def test_half_an_image_is_none() -> None:
    with pytest.raises(ValueError, match="no result"):
        wire.read_result(dumped({"data": [{"b64_json": IMAGE}]})[:60].encode(), None, "image")


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        ({"behavior": "verbatim", "body": events([answer(TEXT)])}, 0.000035),
        ({"behavior": "verbatim", "body": dumped(answer(TEXT)) + "\n\ndata: [DONE]"}, 0.000035),
        ({"behavior": "verbatim", "body": events(pieces(TEXT, 2))}, 0.000035),
        ({"behavior": "verbatim", "body": dumped(answer(nested(TEXT, 450)))}, 0.000035),
        ({"behavior": "verbatim", "body": dumped(answer(TEXT))[:-90]}, None),
        # The connection breaks off behind the text, which is there.
        ({"behavior": "dropped", "body": dumped(answer(TEXT))}, 0.000035),
        ({"behavior": "dropped", "body": dumped(answer(TEXT))[:-90]}, None),
        (
            {
                "behavior": "verbatim",
                "base64": base64.b64encode(gzip.compress(dumped(answer(TEXT)).encode())).decode(),
            },
            0.000035,
        ),
        (
            {
                "behavior": "verbatim",
                "body": dumped(answer(TEXT)),
                "headers": {"content-encoding": "gzip", "content-type": "text/html"},
            },
            0.000035,
        ),
        (
            {
                "behavior": "verbatim",
                "base64": base64.b64encode(dumped(answer("좋은 아침")).encode("cp949")).decode(),
                "headers": {"content-type": "application/json; charset=euc-kr"},
            },
            0.000035,
        ),
    ],
)
def test_what_can_be_read_of_a_200_is_sold_and_booked(
    service: Service, stand_in: StandIn, told: dict[str, Any], cost: float | None
) -> None:
    stand_in.client.post("/stand-in/next", json=told).raise_for_status()
    response = service.text()
    assert response.status_code == 200, response.text
    assert response.json()["text"] in (TEXT, "좋은 아침")
    job = service.job()
    assert (job["status"], job["estimated_cost"], job["attempts"]) == ("completed", cost, 1)
    assert job["estimated_cost"] == (None if cost is None else float(Decimal(str(cost))))
    assert len(service.rows(models.GeneratedContent)) == len(stand_in.asked) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"error": {"message": "Unsupported value", "param": "n", "code": "unsupported_value"}},
            True,
        ),
        ({"error": {"message": "'n' does not support 5 with this model", "code": None}}, True),
        ({"error": {"message": "n > 1 is not supported"}}, True),
        ({"error": {"message": "Invalid n value (currently only n = 1 is supported)"}}, True),
        ({"error": {"message": "extraneous key [n] is not permitted"}}, True),
        ({"error": {"message": "Only one completion choice is allowed", "code": 400}}, True),
        ([{"error": {"code": 400, "message": "Multiple candidates is not enabled"}}], True),
        ({"detail": [{"loc": ["body", "n"], "msg": "Extra inputs are not permitted"}]}, True),
        ({"object": "error", "message": "n must be 1 when using greedy sampling"}, True),
        (
            {
                "error": {
                    "message": "UnsupportedParamsError: gpt-x does not support parameters: ['n']",
                    "type": "None",
                    "param": "None",
                    "code": "400",
                }
            },
            True,
        ),
        ({"error": {"message": "n > 1 is not supported", "param": "request.n"}}, True),
        ({"error": {"message": "n must be 1", "code": "model_not_supported"}}, True),
        ({"error": {"message": "The maximum number of output tokens is 8192"}}, False),
        ({"error": {"message": "Your prompt 'rock n roll' was flagged"}}, False),
        ({"error": {"message": "Your prompt n = 1 was flagged by our safety system"}}, False),
        ({"error": {"message": "not available (n/a)"}}, False),
        ({"error": {"message": "n = 5 is too much", "code": "rate_limit_exceeded"}}, False),
        ({"error": {"message": "n is fine", "param": "temperature"}}, False),
        ({"error": {"message": "I don't know this n-gram"}}, False),
        ({"detail": [{"loc": ["body", "seed"], "msg": "n"}]}, False),
        ({"error": {"message": "content_filter"}}, False),
        ({"error": {"message": ["n"], "code": {"n": 1}, "param": 5}}, False),
    ],
)
def test_a_refusal_of_n_is_told_from_others(body: Any, expected: bool) -> None:
    assert refusals.read(dumped(body).encode()).is_about_n is expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"model is loading", "model is loading"),
        (b"x marks what begins like zlib", "x marks what begins like zlib"),
        ("<html>\n502</html>".encode("utf-16"), ""),
        (gzip.compress(b'{"error": {"message": "no"}}', mtime=0), "no"),
        (b'{"detail": [{"loc": ["body"], "msg": "Field required"}]}', "Field required"),
        (b"", ""),
    ],
)
def test_the_reason_of_a_refusal(content: bytes, reason: str) -> None:
    assert refusals.read(content).reason == reason
