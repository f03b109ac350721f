"""Copy that was cut off is told from copy that is whole, wherever it is shown."""

import json
from typing import Any

import pytest

from tests.conftest import Service, StandIn

LENGTH = "cut off at max_tokens. Ask with a larger max_tokens."
FILTER = "cut off by OpenAI's content filter. Change the prompt."


@pytest.mark.parametrize(
    ("finish_reason", "kept", "cut", "warning"),
    [
        ("stop", "stop", False, None),
        ("STOP", "STOP", False, None),
        ("length", "length", True, f"The text was {LENGTH}"),
        ("content_filter", "content_filter", True, f"The text was {FILTER}"),
        ("tool_calls", "tool_calls", True, "The text was cut off (finish_reason tool_calls)."),
        ("가" * 60, "가" * 50, True, f"The text was cut off (finish_reason {'가' * 50})."),
        # Nobody said: that is no claim.
        (None, None, None, None),
        ("", None, None, None),
        (0, None, None, None),
        ({"a": []}, None, None, None),
    ],
)
def test_how_a_text_ended_is_kept_and_told(
    service: Service,
    stand_in: StandIn,
    finish_reason: Any,
    kept: str | None,
    cut: bool | None,
    warning: str | None,
) -> None:
    stand_in.will("ok", texts=["좋은 아침"], finish_reasons=[finish_reason])
    response = service.text(key="once")
    answer = response.json()
    assert answer["warning"] == warning
    metric = {"metric_name": "clicks", "metric_value": 1, "content_id": answer["id"]}
    assert service.post("/analytics/metrics", metric).is_success
    for shown in (
        answer,
        *answer["variants"],
        *service.get("/content/history").json()["history"],
        service.get(f"/content/{answer['id']}").json(),
        *service.get("/analytics/content").json()["content"],
        *service.get(f"/analytics/content/{answer['id']}/variants").json()["variants"],
    ):
        assert (shown["finish_reason"], shown["cut"]) == (kept, cut)
    job = service.job()
    assert (job["status"], job["error_message"]) == ("completed", warning)
    replay = service.text(key="once")
    assert replay.headers["Idempotent-Replayed"] == "true"
    assert replay.text == response.text


def test_the_warning_names_which_variants(service: Service, stand_in: StandIn) -> None:
    reasons = ["stop", "length", "content_filter", "length", None]
    stand_in.will("ok", texts=list("가나다라마"), finish_reasons=reasons)
    answer = service.text(n=5).json()
    assert [variant["finish_reason"] for variant in answer["variants"]] == reasons
    assert answer["warning"] == f"Variants 2 and 4 were {LENGTH} Variant 3 was {FILTER}"
    siblings = service.get(f"/content/{answer['id']}").json()["siblings"]
    assert [sibling["cut"] for sibling in siblings] == [True, True, True, None]


def test_it_is_told_beside_variants_that_are_missing(service: Service, stand_in: StandIn) -> None:
    stand_in.will("ok", texts=["", "나", "다"], finish_reasons=["stop", "length", "stop"])
    warning = service.text(n=3).json()["warning"]
    assert warning.startswith("1 of the 3 variants came to nothing: ")
    assert warning.endswith(f" Variant 1 was {LENGTH}"), "by its place in variants"


def test_an_image_is_neither_whole_nor_cut(service: Service) -> None:
    assert service.image().is_success
    (image,) = service.get("/content/history").json()["history"]
    assert (image["finish_reason"], image["cut"]) == (None, None)


def test_a_text_whose_answer_broke_off_is_cut(service: Service, stand_in: StandIn) -> None:
    choice = {"index": 0, "message": {"content": "좋은 아침"}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice]}, ensure_ascii=False)
    stand_in.will("verbatim", body=body[: body.index("침")])
    answer = service.text().json()
    assert (answer["text"], answer["finish_reason"], answer["cut"]) == (
        "좋은 아",
        "incomplete",
        True,
    )
    assert answer["warning"] == "The text was cut off: OpenAI's answer broke off before its end."
