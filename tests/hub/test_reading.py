"""What the real clients read from the loopback Hub: listings, downloads, file systems and refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from huggingface_hub import (
    _CACHED_NO_EXIST,
    HfApi,
    HfFileSystem,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub import LoopbackHub

REPOSITORY = "user/masks"
MASKS = bytes(range(256)) * 40
ODD = "raw data/größe 1%.csv"
CARD = b"---\nlicense: mit\ntags:\n- circuits\n---\n# Masks\n"
FILES = {"README.md": CARD, "masks.h5": MASKS, ODD: b"a,b\n1,2\n", "raw data/deep/x.txt": b"x", "empty.txt": b""}


@pytest.fixture
def sha(hub: LoopbackHub) -> str:
    return hub.add_repository(REPOSITORY, FILES)


def download(file: str, *, revision: str | None = None, token: str | bool | None = None) -> bytes:
    path = hf_hub_download(REPOSITORY, file, repo_type="dataset", revision=revision, token=token)
    return Path(path).read_bytes()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


def test_dataset_info_tells_commit_card_and_files(hub: LoopbackHub, sha: str) -> None:
    info = HfApi().dataset_info(REPOSITORY, files_metadata=True)
    assert (info.sha, info.author, info.private, info.gated) == (sha, "user", False, False)
    assert info.card_data is not None
    assert info.card_data["tags"] == ["circuits"]
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    assert {name: sibling.size for name, sibling in siblings.items()} == {name: len(FILES[name]) for name in FILES}
    assert siblings["masks.h5"].lfs is not None
    assert siblings["masks.h5"].lfs.sha256 == hashlib.sha256(MASKS).hexdigest()
    assert siblings["README.md"].lfs is None
    assert siblings["README.md"].blob_id == git_blob(CARD)


def test_models_live_beside_datasets_of_the_same_name(hub: LoopbackHub, sha: str) -> None:
    hub.add_repository(REPOSITORY, {"config.json": b"{}"}, kind="model")
    assert HfApi().list_repo_files(REPOSITORY) == ["config.json"]
    assert Path(hf_hub_download(REPOSITORY, "config.json")).read_bytes() == b"{}"
    assert hub.files(REPOSITORY, kind="model") == {"config.json": b"{}"}
    assert hub.files(REPOSITORY) == FILES


def test_tree_comes_in_pages(hub: LoopbackHub) -> None:
    names = [f"part-{number:03d}.csv" for number in range(7)]
    hub.add_repository(REPOSITORY, {name: name.encode() for name in names})
    hub.page_size = 3
    assert sorted(entry.path for entry in HfApi().list_repo_tree(REPOSITORY, repo_type="dataset")) == names
    assert hub.count() == 3


def test_tree_plain_recursive_and_expanded(hub: LoopbackHub, sha: str) -> None:
    later = hub.commit(REPOSITORY, {"raw data/deep/x.txt": b"y"}, title="correct x")
    api = HfApi()
    plain = api.list_repo_tree(REPOSITORY, repo_type="dataset")
    assert {entry.path for entry in plain} == {"README.md", "masks.h5", "empty.txt", "raw data"}
    below = api.list_repo_tree(REPOSITORY, "raw data", recursive=True, repo_type="dataset")
    assert {entry.path for entry in below} == {ODD, "raw data/deep", "raw data/deep/x.txt"}
    expanded = api.list_repo_tree(REPOSITORY, recursive=True, expand=True, repo_type="dataset")
    changed = {entry.path: entry.last_commit.oid for entry in expanded if entry.last_commit}
    of_later = {"raw data", "raw data/deep", "raw data/deep/x.txt"}
    assert changed == {name: later if name in of_later else sha for name in {*FILES, *of_later}}


def test_paths_info_leaves_out_unknown_paths(hub: LoopbackHub, sha: str) -> None:
    entries = HfApi().get_paths_info(REPOSITORY, [ODD, "raw data", "missing"], repo_type="dataset")
    assert {entry.path: type(entry).__name__ for entry in entries} == {ODD: "RepoFile", "raw data": "RepoFolder"}


def test_refs_commits_and_file_exists(hub: LoopbackHub, sha: str) -> None:
    api = HfApi()
    later = hub.commit(REPOSITORY, {"new.csv": b"1"}, delete=["empty.txt"], title="add new")
    branch = hub.commit(REPOSITORY, {"new.csv": b"2"}, revision="trial")
    refs = api.list_repo_refs(REPOSITORY, repo_type="dataset")
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": later, "trial": branch}
    commits = api.list_repo_commits(REPOSITORY, repo_type="dataset")
    assert [(commit.commit_id, commit.title) for commit in commits] == [(later, "add new"), (sha, "initial commit")]
    assert commits[0].created_at > commits[1].created_at
    assert api.file_exists(REPOSITORY, "new.csv", repo_type="dataset")
    assert not api.file_exists(REPOSITORY, "empty.txt", repo_type="dataset")


@pytest.mark.parametrize("file", FILES)
def test_download_gives_the_bytes_and_asks_once_more_when_cached(hub: LoopbackHub, sha: str, file: str) -> None:
    assert download(file) == FILES[file]
    gets = 1 if FILES[file] else 0  # an empty file needs no second request
    assert (hub.count(method="HEAD"), hub.count(method="GET")) == (1, gets)
    assert hub.sent() == len(FILES[file])
    assert download(file) == FILES[file]
    assert (hub.count(method="HEAD"), hub.count(method="GET")) == (2, gets)


def test_download_of_a_commit_tag_or_branch(hub: LoopbackHub, sha: str) -> None:
    HfApi().create_tag(REPOSITORY, tag="v1", repo_type="dataset")
    hub.commit(REPOSITORY, {"masks.h5": b"new"})
    hub.commit(REPOSITORY, {"masks.h5": b"converted"}, revision="refs/convert/parquet")
    contents = {
        revision: download("masks.h5", revision=revision) for revision in (sha, "v1", "main", "refs/convert/parquet")
    }
    assert contents == {sha: MASKS, "v1": MASKS, "main": b"new", "refs/convert/parquet": b"converted"}


def test_snapshot_in_the_cache_and_in_a_folder(hub: LoopbackHub, sha: str, tmp_path: Path) -> None:
    for folder in (
        Path(snapshot_download(REPOSITORY, repo_type="dataset")),
        Path(snapshot_download(REPOSITORY, repo_type="dataset", local_dir=tmp_path / "copy")),
    ):
        assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_file_system_lists_and_reads_only_the_ranges_it_is_asked_for(hub: LoopbackHub, sha: str) -> None:
    system = HfFileSystem()
    listed = system.ls(f"datasets/{REPOSITORY}/raw data", detail=False)
    assert set(listed) == {f"datasets/{REPOSITORY}/raw data/deep", f"datasets/{REPOSITORY}/{ODD}"}
    path = f"datasets/{REPOSITORY}/masks.h5"
    assert system.info(path)["size"] == len(MASKS)
    hub.reset()
    with system.open(path, block_size=1000, cache_type="none") as file:
        file.seek(5000)
        assert file.read(10) == MASKS[5000:5010]
    assert [request.range for request in hub.requests if request.file == "masks.h5"] == ["bytes=5000-5009"]
    assert hub.sent("masks.h5") == 10


def test_missing_repository_revision_and_file_have_their_own_errors(hub: LoopbackHub, sha: str) -> None:
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("user/none", "masks.h5", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        download("masks.h5", revision="none")
    with pytest.raises(EntryNotFoundError):
        download("none.h5")
    absent = try_to_load_from_cache(REPOSITORY, "none.h5", revision=sha, repo_type="dataset")
    assert absent is _CACHED_NO_EXIST  # the answer names the commit, for which the absence is kept


def test_private_repository_is_not_found_without_the_token(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add_repository(REPOSITORY, FILES, private=True)
    hub.token = "hf_right"
    with pytest.raises(RepositoryNotFoundError):
        download("masks.h5")
    assert download("masks.h5", token="hf_right") == MASKS
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert HfApi().dataset_info(REPOSITORY).private
    assert HfApi().whoami()["name"] == "user"
    assert [request.authorized for request in hub.requests] == [False, True, True, True, True]
    assert "hf_right" not in repr(hub.requests)


def test_wrong_token_is_refused_even_for_public_repositories(hub: LoopbackHub, sha: str) -> None:
    hub.token = "hf_right"
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as caught:
        HfApi(token="hf_wrong").dataset_info(REPOSITORY)
    assert caught.value.response.status_code == 401


def test_gated_repository_shows_itself_but_not_its_files(hub: LoopbackHub) -> None:
    hub.add_repository(REPOSITORY, FILES, gated=True)
    assert HfApi().dataset_info(REPOSITORY).gated == "manual"
    for token in (False, "hf_any"):
        with pytest.raises(GatedRepoError):
            download("masks.h5", token=token)
    hub.token = "hf_right"
    assert download("masks.h5", token="hf_right") == MASKS
