"""The running sums of stage 12, between the model that makes them and the files that hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ActivationStatistics"]


@dataclass(frozen=True)
class ActivationStatistics:
    """Sums over the prompts of each group, as in a ``12_*`` file.

    Attributes:
        activation_sum: float32 (group, layer, width), sum of |activation|.
        firing_count: int32 (group, layer, width), prompts with |activation| > 0.
        n_prompts: int64 (group,).
        exceedance_count: int32 (threshold, group, layer, width), prompts with |activation| > threshold, or None.
        thresholds: those thresholds, ascending.
    """

    activation_sum: npt.NDArray[np.float32]
    firing_count: npt.NDArray[np.int32]
    n_prompts: npt.NDArray[np.int64]
    exceedance_count: npt.NDArray[np.int32] | None = None
    thresholds: tuple[float, ...] = ()

    def exceedance(self, threshold: float) -> npt.NDArray[np.int32] | None:
        """Prompts with |activation| > threshold, int32 (group, layer, width); None if they were not counted."""
        if self.exceedance_count is None or threshold not in self.thresholds:
            return None
        counts: npt.NDArray[np.int32] = self.exceedance_count[self.thresholds.index(threshold)]
        return counts
