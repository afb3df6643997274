"""What the real clients change on the loopback Hub: repositories, files, commits and refs."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import CommitOperationCopy, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hub import LoopbackHub

REPOSITORY = "user/masks"
MASKS = bytes(range(256)) * 10


@pytest.fixture
def api() -> HfApi:
    return HfApi()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "masks.h5").write_bytes(MASKS)
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Masks\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    return tmp_path


def lfs_files(api: HfApi) -> set[str]:
    info = api.dataset_info(REPOSITORY, files_metadata=True)
    return {sibling.rfilename for sibling in info.siblings or [] if sibling.lfs}


def commits(api: HfApi, revision: str | None = None) -> list[str]:
    return [commit.title for commit in api.list_repo_commits(REPOSITORY, revision=revision, repo_type="dataset")]


def test_create_twice_and_delete(hub: LoopbackHub, api: HfApi) -> None:
    url = api.create_repo(REPOSITORY, repo_type="dataset", private=True)
    assert (url.repo_id, url.repo_type, str(url)) == (REPOSITORY, "dataset", f"{hub.endpoint}/datasets/{REPOSITORY}")
    assert api.dataset_info(REPOSITORY).private
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPOSITORY, repo_type="dataset")
    api.create_repo(REPOSITORY, repo_type="dataset", exist_ok=True)
    api.delete_repo(REPOSITORY, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info(REPOSITORY)


def test_new_repository_is_not_empty(hub: LoopbackHub, api: HfApi) -> None:
    api.create_repo(REPOSITORY, repo_type="dataset")
    assert api.list_repo_files(REPOSITORY, repo_type="dataset") == [".gitattributes"]


def test_folder_goes_up_with_large_files_apart(hub: LoopbackHub, api: HfApi, folder: Path) -> None:
    hub.add_repository(REPOSITORY, {})
    made = api.upload_folder(repo_id=REPOSITORY, folder_path=folder, repo_type="dataset", commit_message="masks")
    expected = {"README.md": (folder / "README.md").read_bytes(), "empty.npz": b"", "raw/masks.h5": MASKS}
    assert hub.files(REPOSITORY, made.oid) == hub.files(REPOSITORY) == expected
    assert lfs_files(api) == {"raw/masks.h5"}
    assert [request.path.partition("/lfs/")[1] for request in hub.requests if request.method == "PUT"] == ["/lfs/"]


def test_unchanged_folder_makes_no_commit_and_sends_nothing(hub: LoopbackHub, api: HfApi, folder: Path) -> None:
    hub.add_repository(REPOSITORY, {})
    for _ in range(2):
        hub.reset()
        api.upload_folder(repo_id=REPOSITORY, folder_path=folder, repo_type="dataset", commit_message="masks")
    assert hub.count(method="PUT") == 0
    assert not any("/commit/" in request.path for request in hub.requests)
    assert commits(api) == ["masks", "initial commit"]


def test_known_content_is_not_sent_again(hub: LoopbackHub, api: HfApi) -> None:
    hub.add_repository("user/other", {"masks.h5": MASKS})
    hub.add_repository(REPOSITORY, {})
    api.upload_file(path_or_fileobj=MASKS, path_in_repo="copy.h5", repo_id=REPOSITORY, repo_type="dataset")
    assert hub.count(method="PUT") == 0
    assert hub.files(REPOSITORY) == {"copy.h5": MASKS}


def test_size_decides_where_the_extension_does_not(hub: LoopbackHub, api: HfApi) -> None:
    hub.add_repository(REPOSITORY, {"small.csv": b"1" * 99, "large.csv": b"1" * 100, "tiny.h5": b"1"}, lfs_from=100)
    assert lfs_files(api) == {"large.csv", "tiny.h5"}
    api.upload_file(path_or_fileobj=b"2" * 100, path_in_repo="sent.csv", repo_id=REPOSITORY, repo_type="dataset")
    assert lfs_files(api) == {"large.csv", "tiny.h5", "sent.csv"}


def test_files_and_folders_are_deleted_and_copied(hub: LoopbackHub, api: HfApi) -> None:
    hub.add_repository(REPOSITORY, {"a.csv": b"1", "raw/masks.h5": MASKS, "raw/b.csv": b"2", "rawer.csv": b"3"})
    copy = CommitOperationCopy(src_path_in_repo="raw/masks.h5", path_in_repo="masks.h5")
    api.create_commit(REPOSITORY, [copy], commit_message="copy", repo_type="dataset")
    api.delete_folder("raw", repo_id=REPOSITORY, repo_type="dataset")
    api.delete_file("a.csv", repo_id=REPOSITORY, repo_type="dataset")
    assert hub.files(REPOSITORY) == {"masks.h5": MASKS, "rawer.csv": b"3"}
    with pytest.raises(EntryNotFoundError):
        api.delete_file("a.csv", repo_id=REPOSITORY, repo_type="dataset")


def test_branches_and_tags(hub: LoopbackHub, api: HfApi) -> None:
    sha = hub.add_repository(REPOSITORY, {"a.csv": b"1"})
    hub.commit(REPOSITORY, {"a.csv": b"2"})
    api.create_branch(REPOSITORY, branch="old", revision=sha, repo_type="dataset")
    api.create_branch(REPOSITORY, branch="refs/convert/parquet", repo_type="dataset")
    api.create_tag(REPOSITORY, tag="v1", revision=sha, repo_type="dataset")
    refs = api.list_repo_refs(REPOSITORY, repo_type="dataset")
    assert {ref.name for ref in refs.branches} == {"main", "old"}
    assert [ref.ref for ref in refs.converts] == ["refs/convert/parquet"]
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("v1", sha)]
    assert hub.files(REPOSITORY, "old") == hub.files(REPOSITORY, "v1") == {"a.csv": b"1"}
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_branch(REPOSITORY, branch="old", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        api.create_branch(REPOSITORY, branch="new", revision="none", repo_type="dataset")
    api.delete_branch(REPOSITORY, branch="old", repo_type="dataset")
    api.delete_tag(REPOSITORY, tag="v1", repo_type="dataset")
    refs = api.list_repo_refs(REPOSITORY, repo_type="dataset")
    assert ([ref.name for ref in refs.branches], refs.tags) == (["main"], [])


def test_commit_on_an_old_parent_is_refused(hub: LoopbackHub, api: HfApi) -> None:
    old = hub.add_repository(REPOSITORY, {"a.csv": b"1"})
    hub.commit(REPOSITORY, {"a.csv": b"2"})
    with pytest.raises(HfHubHTTPError, match="412"):
        api.upload_file(
            path_or_fileobj=b"3", path_in_repo="a.csv", repo_id=REPOSITORY, repo_type="dataset", parent_commit=old
        )
    assert hub.files(REPOSITORY) == {"a.csv": b"2"}


def test_pull_request_leaves_main_as_it_is(hub: LoopbackHub, api: HfApi) -> None:
    hub.add_repository(REPOSITORY, {"a.csv": b"1"})
    made = api.upload_file(
        path_or_fileobj=b"2", path_in_repo="a.csv", repo_id=REPOSITORY, repo_type="dataset", create_pr=True
    )
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert hub.files(REPOSITORY, "refs/pr/1") == {"a.csv": b"2"}
    assert hub.files(REPOSITORY) == {"a.csv": b"1"}
    refs = api.list_repo_refs(REPOSITORY, repo_type="dataset", include_pull_requests=True)
    assert [(ref.ref, ref.target_commit) for ref in refs.pull_requests or []] == [("refs/pr/1", made.oid)]


def test_squashed_history_keeps_the_files(hub: LoopbackHub, api: HfApi) -> None:
    hub.add_repository(REPOSITORY, {"a.csv": b"1"})
    hub.commit(REPOSITORY, {"b.csv": b"2"})
    api.super_squash_history(REPOSITORY, repo_type="dataset", commit_message="one")
    assert commits(api) == ["one"]
    assert hub.files(REPOSITORY) == {"a.csv": b"1", "b.csv": b"2"}


def test_card_with_broken_yaml_is_refused(hub: LoopbackHub, api: HfApi) -> None:
    hub.add_repository(REPOSITORY, {})
    good, broken = b"---\nlicense: mit\n---\n", b"---\nlicense: [mit\n---\n"
    api.upload_file(path_or_fileobj=good, path_in_repo="README.md", repo_id=REPOSITORY, repo_type="dataset")
    with pytest.raises(ValueError, match="Invalid metadata"):
        api.upload_file(path_or_fileobj=broken, path_in_repo="README.md", repo_id=REPOSITORY, repo_type="dataset")
    assert hub.files(REPOSITORY) == {"README.md": good}


def test_changes_need_the_token_once_there_is_one(hub: LoopbackHub, api: HfApi) -> None:
    hub.add_repository(REPOSITORY, {})
    hub.token = "hf_right"
    with pytest.raises(HfHubHTTPError, match="401"):
        api.upload_file(path_or_fileobj=b"1", path_in_repo="a.csv", repo_id=REPOSITORY, repo_type="dataset")
    assert hub.files(REPOSITORY) == {}
    api.upload_file(
        path_or_fileobj=b"1", path_in_repo="a.csv", repo_id=REPOSITORY, repo_type="dataset", token="hf_right"
    )
    assert hub.files(REPOSITORY) == {"a.csv": b"1"}
