"""Record: a frozen result that is written as JSON and validated on reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, model_validator


class Record(BaseModel):
    """Base class: frozen, with finite numbers; unknown keys are ignored.

    A count that a file states must equal the one computed from the rest of the file.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _agrees(cls, content: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        record = handler(content)
        for name in cls.model_computed_fields if isinstance(content, Mapping) else ():
            value = getattr(record, name)
            stated = content.get(name, value)
            if isinstance(value, int) and stated != value:
                raise ValueError(f"'{name}' is {stated}, but its parts give {value}")
        return record

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return self.model_dump(mode="json", by_alias=True)
