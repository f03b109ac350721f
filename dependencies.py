"""What routes take: parameters that are checked, and what the service works with."""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from fastapi import Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


class OpenAINotConfigured(Exception):
    """There is no OPENAI_API_KEY, so nothing can be generated."""


class CheckedRoute(APIRoute):
    """A GET that answers JSON refuses a parameter that it does not know, and one sent twice: a
    filter would be ignored, and the figures look right and be those of everything."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        if self.methods != {"GET"} or self.response_field is None:
            return answer
        elsewhere = params.Path | params.Header | params.Cookie
        known = [
            field.alias
            for field in get_flat_params(self.dependant)
            if not isinstance(field.field_info, elsewhere)
        ]

        async def answer_known(request: Request) -> Response:
            if request.scope["query_string"]:
                sent = [name for name, _ in request.query_params.multi_items()]
                if wrong := _unknown_parameters(sent, known):
                    raise RequestValidationError(wrong)
            return await answer(request)

        return answer_known


def _unknown_parameters(sent: Iterable[str], known: Sequence[str]) -> list[dict[str, Any]]:
    """What is wrong with these names in an address: a route does not know them, or each counts
    once."""
    there_are = f"There are: {', '.join(known)}" if known else "This address takes none"
    wrong = []
    for name, times in Counter(sent).items():
        if name not in known:
            reason = f"There is no parameter '{name}' here. {there_are}"
            wrong.append({"loc": ("query", name), "msg": reason, "type": "extra_forbidden"})
        elif times > 1:
            reason = f"Parameter '{name}' should be sent once, and not {times} times"
            wrong.append({"loc": ("query", name), "msg": reason, "type": "repeated"})
    return wrong
