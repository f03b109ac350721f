"""What /keys and /budgets accept and return; amounts are US dollars, times UTC."""

from datetime import date
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from access.caps import LAST, Period
from access.keys import SCOPES, Scope
from fields import WHOLE, Dollars, Id, Moment, Name, Request, Timestamp, invalid
from settings import time_zone


def _time_zone(name: str) -> str:
    try:
        return time_zone(name)
    except ValueError as error:
        raise PydanticCustomError("time_zone", f"It {error}".removesuffix(".")) from None


Amount = Annotated[
    float, Field(ge=0, le=1_000_000, allow_inf_nan=False, description="In US dollars.")
]
TimeZone = Annotated[
    str,
    Field(max_length=64, description="In which the period begins at midnight: an IANA name."),
    AfterValidator(_time_zone),
]
Rate = Annotated[
    int, Field(ge=1, le=1_000_000, description="Generations in one minute, at most."), WHOLE
]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=10)]


class Strict(Request):
    """What is sent with a field that is not known is refused: a limit misspelled is none."""

    model_config = ConfigDict(extra="forbid")


# Caps.


class CapRequest(Strict):
    """So much may be spent in each `period`; "total" never starts anew."""

    amount_usd: Amount
    period: Period = "month"
    time_zone: TimeZone = "UTC"


class BudgetRequest(CapRequest):
    """A cap on a key, on a user, or with neither on the whole service."""

    name: Name | None = None
    key_id: Id | None = None
    user_id: Id | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "마케팅팀",
                    "amount_usd": 50,
                    "period": "month",
                    "time_zone": "Asia/Seoul",
                }
            ]
        }
    )

    @model_validator(mode="after")
    def _is_of_one(self) -> Self:
        if self.key_id is not None and self.user_id is not None:
            raise invalid(self, {"user_id": "A cap is on a key or on a user, not on both"})
        return self


class CapChange(Strict):
    """Only what is sent changes; what was spent in the period counts on."""

    amount_usd: Amount = Field(default_factory=float)
    period: Period = Field(default_factory=lambda: "month")
    time_zone: TimeZone = Field(default_factory=str)


class BudgetChange(CapChange):
    """Only what is sent changes; what was spent in the period counts on."""

    name: Name | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount_usd": 80}]})


class Budget(BaseModel):
    """A cap and how it stands in its period: `held` is what running requests can cost at most,
    `left` what another one may. `ends_at` is when it starts anew; both times are null where it
    never does. The one of SERVICE_BUDGET_USD has the id 0: change the setting."""

    id: int = Field(examples=[1])
    name: str | None = Field(examples=["마케팅팀"])
    key_id: int | None = Field(examples=[None])
    user_id: int | None = Field(examples=[None])
    amount_usd: Dollars = Field(examples=[50])
    period: Period
    time_zone: str = Field(examples=["Asia/Seoul"])
    starts_at: Timestamp | None
    ends_at: Timestamp | None
    spent: Dollars = Field(examples=[12.45])
    held: Dollars = Field(examples=[0.04])
    left: Dollars = Field(examples=[37.51])


class BudgetDay(BaseModel):
    """What the jobs of one day, in the cap's time zone, have spent and hold."""

    date: date
    spent: Dollars = Field(examples=[1.2])
    held: Dollars = Field(examples=[0])
    jobs: int = Field(examples=[30])


class BudgetItem(Budget):
    """`days` are those of the period on which something was asked for."""

    days: list[BudgetDay]


class BudgetList(BaseModel):
    budgets: list[Budget]


# Keys.


class KeyRequest(Strict):
    """With a `user_id`, the key generates as that user and sees that user's rows alone. `scopes`
    are what it opens: generate (also segments), metrics (to report them), read."""

    name: Name
    user_id: Id | None = None
    scopes: Scopes = Field(list(SCOPES))
    expires_at: Moment | None = None
    cap: CapRequest | None = None
    rate_per_minute: Rate | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "마케팅팀",
                    "scopes": ["generate", "read"],
                    "cap": {"amount_usd": 20, "period": "month", "time_zone": "Asia/Seoul"},
                    "rate_per_minute": 60,
                }
            ]
        }
    )


class KeyChange(Strict):
    """Only what is sent changes; null takes an end, a cap or a rate away. Whose key it is stays as
    it is: make another one."""

    name: Name = Field(default_factory=str)
    scopes: Scopes = Field(default_factory=list)
    expires_at: Moment | None = None
    cap: CapChange | None = None
    rate_per_minute: Rate | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"rate_per_minute": 120}]})


class Key(BaseModel):
    """A key without its secret. `spent` is all that it ever spent, `left` what its cap has left,
    null where it has none; `last_used_at` is right to the minute."""

    id: int = Field(examples=[1])
    name: str = Field(examples=["마케팅팀"])
    prefix: str = Field(examples=["artify_3f9a1c2e"])
    user_id: int | None = Field(examples=[None])
    scopes: list[str] = Field(examples=[["generate", "read"]])
    expires_at: Timestamp | None = Field(examples=[None])
    rate_per_minute: int | None = Field(examples=[60])
    created_at: Timestamp
    last_used_at: Timestamp | None
    revoked_at: Timestamp | None = Field(examples=[None])
    spent: Dollars = Field(examples=[12.45])
    left: Dollars | None = Field(examples=[7.51])
    cap: Budget | None


class NewKey(Key):
    """`key` is shown this once: keep it, nobody can show it again."""

    key: str = Field(examples=["artify_3f9a1c2e_…"])


class KeyList(BaseModel):
    keys: list[Key]


def shown_end(moment: Timestamp) -> Timestamp | None:
    """Return when a period begins or ends; None for what never does."""
    return moment if moment.year not in (1, LAST.year) else None
