"""What the CSP-Atlas steps can be told; the defaults are the published experiment, with the true last token."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from circuit_artifacts.compute.step_parameters import StepParameters
from circuit_artifacts.errors import SchemaError
from circuit_artifacts.schemas.csp_vocabulary import KEYWORDS, attempted_pairs, concept_key

__all__ = ["StageParameters"]


class StageParameters(StepParameters):
    """Parameters of stages 11 to 14.

    Attributes:
        model: "mini", a folder, or a Hub id.
        seed: of the prompt generators.
        mode: which pairs are attempted: "small" is the published 106 concepts.
        ast_nodes: only pairs with these nodes; None takes all of the mode.
        builtin_objs: only pairs with these builtins.
        n_prompts: prompts generated and kept per pair.
        n_checkers: checker prompts aimed at per concept.
        filter_rule: "pair_mean" drops pairs by their mean loss (the notebook), "best" keeps the lowest losses (the
            library).
        loss_threshold: for the filter, in nats; None takes the rule's published one.
        max_length: tokens after which a prompt is cut.
        position: token whose activation is read.
        rule: how a dimension enters a mask.
        thresholds: activation thresholds that stage 12 also counts exceedances of; needed by rule "per_prompt".
        token_checker_setting: (epsilon, consistency) of token_checker_masks.h5 and universal_106x50.h5.
        batch_tokens: tokens per batch.
        device: where the model runs.
        dtype: weights and activations of the model.
        engine: "local" runs it in this process, "ray" on a Ray cluster; to workers `model` must mean the same.
    """

    model: str
    seed: int = 42
    mode: Literal["test", "small"] = "small"
    ast_nodes: tuple[str, ...] | None = None
    builtin_objs: tuple[str, ...] | None = None
    n_prompts: int = Field(default=50, ge=1)
    n_checkers: int = Field(default=50, ge=1)
    filter_rule: Literal["pair_mean", "best"] = "pair_mean"
    loss_threshold: float | None = None
    max_length: int = Field(default=512, ge=1)
    position: Literal["last_token", "as_committed"] = "last_token"
    rule: Literal["mean", "per_prompt"] = "mean"
    thresholds: tuple[float, ...] = ()
    token_checker_setting: tuple[float, float] = (0.001, 0.8)
    batch_tokens: int = Field(default=8192, ge=1)
    device: str = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    engine: Literal["local", "ray"] = "local"

    def pairs(self) -> list[tuple[str, str]]:
        """The pairs to attempt, in generation order.

        Raises:
            SchemaError: no pair is left, or a name is in no pair of the mode.
        """
        attempted = attempted_pairs(self.mode)
        for field, wanted, known in (
            ("ast_nodes", self.ast_nodes, {node for node, _ in attempted}),
            ("builtin_objs", self.builtin_objs, {builtin for _, builtin in attempted}),
        ):
            if unknown := sorted(set(wanted or ()) - known):
                problem = f"{', '.join(unknown)} is in no pair of mode {self.mode!r}"
                raise SchemaError(problem, where=field, expected=f"some of {', '.join(sorted(known))}")
        chosen = [
            (node, builtin)
            for node, builtin in attempted
            if (self.ast_nodes is None or node in self.ast_nodes)
            and (self.builtin_objs is None or builtin in self.builtin_objs)
        ]
        if not chosen:
            problem = "no pair of these nodes and builtins is attempted"
            raise SchemaError(problem, where="ast_nodes, builtin_objs")
        return chosen

    def testable(self) -> list[str]:
        """The concepts with a keyword among those pairs, in ASCII order."""
        named = {concept_key("ast", node) for node, _ in self.pairs()}
        named |= {concept_key("builtin", builtin) for _, builtin in self.pairs()}
        return sorted(named & set(KEYWORDS))
