"""What `run` is asked for: by flags, or by a YAML file whose values the flags override."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from dep_mcp.protocol import Generation, Line, WireModel
from dep_mcp.protocol.errors import UsageError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Plan(WireModel):
    """Every model on every benchmark."""

    benchmarks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names, `name:task`, or folders."""
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    data: tuple[Path, ...] = ()
    """Files or folders that hold benchmarks' data."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Items of each benchmark at most."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    seed: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    """Instead of a fresh secret one, to repeat an evaluation."""
    generation: Generation | None = None
    """Settings that override those of the cards."""
    identity: Annotated[Line, Field(min_length=1)] | None = None
    """Who is evaluated: the policies of the benchmarks' cards are kept against them."""
    final: bool = False
    """May use what a policy's quota reserves."""
    api_base: str | None = None
    """Address of the models' endpoint."""
    concurrency: Annotated[int, Field(ge=1, le=10000)] | None = None
    """Calls in flight at most, instead of finding out."""
    parallel: Annotated[int, Field(ge=1, le=100)] = 4
    """Evaluations that run at once."""
    cache: bool = False
    """Take answers of other evaluations to the very same requests; never where an answer is sampled."""
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    """What the run may cost; it pauses when that is spent."""

    @model_validator(mode="after")
    def _is_kept_by_somebody(self) -> Self:
        if self.final and self.identity is None:
            msg = "--final is for a policy that is kept against an --identity"
            raise ValueError(msg)
        return self

    @classmethod
    def read(cls, path: Path | None, flags: dict[str, Any]) -> Self:
        """A plan from a file, if there is one, and from flags, which win.

        Raises:
            UsageError: Names the file or flag and what is wrong with it.
        """
        try:
            values = {} if path is None else yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            msg = f"{path}: {error}"
            raise UsageError(msg) from error
        if not isinstance(values, dict):
            msg = f"{path}: a plan is a mapping such as `benchmarks: [gsm8k]` and `models: [openai/gpt-4o-mini]`"
            raise UsageError(msg)
        given = {name: value for name, value in flags.items() if value not in (None, (), [])}
        if given.get("generation") and values.get("generation"):
            given["generation"] = values["generation"] | given["generation"]
        try:
            return cls.model_validate(values | given)
        except ValidationError as error:
            faults = "; ".join(map(_fault, error.errors(include_url=False)))
            msg = faults if path is None else f"{path}: {faults}"
            raise UsageError(msg) from error


def _fault(fault: "ErrorDetails") -> str:
    name = ".".join(map(str, fault["loc"]))
    flag = {"benchmarks": "--benchmark", "models": "--model", "seed": "--seed"}.get(name, name)
    if not name:
        return fault["msg"].removeprefix("Value error, ")
    what = {"missing": "is missing"}
    if name == "seed":
        what["string_pattern_mismatch"] = "must be 32 hexadecimal digits"
    return f"{flag}: {what.get(fault['type'], fault['msg'])}"
