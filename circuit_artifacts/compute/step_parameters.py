"""The base of what steps can be told: checked as a whole, every fault named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ValidationError

from circuit_artifacts.errors import SchemaError
from circuit_artifacts.sae_locality.privacy import stripped
from circuit_artifacts.schemas.common import ArtifactModel

__all__ = ["StepParameters"]


class StepParameters(ArtifactModel):
    """Parameters with defaults."""

    @classmethod
    def of(cls, parameters: Mapping[str, Any], setting: Mapping[str, Any] | None = None) -> Self:
        """Check parameters that a user gave, and those that the setting of a config says.

        Raises:
            SchemaError: an unknown name or a value of another type; every fault is named.
        """
        try:
            return cls.model_validate({**parameters, **(setting or {})})
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            problem = f"the parameters of the steps are not valid: {faults}"
            raise SchemaError(problem, expected=", ".join(cls.model_fields)) from error

    def recorded(self, *names: str) -> dict[str, Any]:
        """Some parameters, or all, as provenance holds them; files and folders only by their names."""
        return dict(stripped(self.model_dump(mode="json", include=set(names) if names else None)))
