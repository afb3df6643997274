import numpy as np
import pytest
from scipy.cluster import hierarchy as scipy_hierarchy
from scipy.spatial.distance import pdist

from circuit_artifacts.compute.csp.hierarchy import ATOMICITY_CONCEPTS, atomicity_clusters, cut, ward
from circuit_artifacts.errors import SchemaError


def test_linkage_equals_scipy_on_its_own_jaccard_distance() -> None:
    masks = np.random.default_rng(0).random((20, 40)) < 0.4
    linkage, names = ward(masks, [f"ast__N{row:02}" for row in range(20)])
    expected = scipy_hierarchy.linkage(pdist(masks, "jaccard"), method="ward")
    assert names == [f"ast__N{row:02}" for row in range(20)]
    np.testing.assert_allclose(linkage, expected, rtol=1e-12)


def test_two_groups_are_found_and_empty_masks_left_out() -> None:
    masks = np.zeros((5, 10), dtype=np.bool_)
    masks[0, :4] = masks[3, :5] = True
    masks[1, 6:] = masks[4, 5:] = True
    linkage, names = ward(masks, ["d", "c", "empty", "b", "a"])
    assert names == ["a", "b", "c", "d"]  # sorted, as in the published figure
    # The two closest pairs have Jaccard index 4/5 each.
    assert linkage[:2, 2] == pytest.approx([0.2, 0.2])
    labels = cut(linkage, 2)
    assert labels[0] == labels[2] != labels[1] == labels[3]
    assert len(set(cut(linkage, 4).tolist())) == 4


def test_identical_masks_merge_at_height_zero() -> None:
    linkage, _ = ward(np.tile(np.arange(6) < 3, (3, 1)), ["a", "b", "c"])
    assert linkage[:, 2].tolist() == [0.0, 0.0]


def test_atomicity_concepts_are_counted_by_cluster() -> None:
    nodes = [concept.removeprefix("ast__") for concept in ATOMICITY_CONCEPTS]
    assert nodes == ["Assert", "Break", "Continue", "Import", "ImportFrom", "Pass"]
    names = [*ATOMICITY_CONCEPTS, "ast__For"]
    assert atomicity_clusters(names, np.array([1, 1, 1, 1, 1, 1, 2], np.int32)) == 1
    assert atomicity_clusters(names, np.array([1, 2, 1, 1, 3, 1, 4], np.int32)) == 3
    assert atomicity_clusters(names[3:], np.array([1, 1, 1, 2], np.int32)) == 1


def test_atomicity_cluster_of_masks_that_are_alike() -> None:
    random = np.random.default_rng(4)
    names = [*ATOMICITY_CONCEPTS, *(f"builtin__b{row}" for row in range(12))]
    masks = random.random((18, 300)) < 0.2
    masks[:6] |= np.arange(300) < 120
    linkage, kept = ward(masks, names)
    assert atomicity_clusters(kept, cut(linkage, 4)) == 1


def test_wrong_input_is_refused() -> None:
    with pytest.raises(SchemaError, match="1 of 2"):
        ward(np.array([[True, False], [False, False]]), ["a", "b"])
    with pytest.raises(SchemaError, match="one name"):
        ward(np.ones((2, 3), np.bool_), ["a"])
    with pytest.raises(SchemaError, match="one label"):
        atomicity_clusters(["a"], np.array([1, 2], np.int32))
