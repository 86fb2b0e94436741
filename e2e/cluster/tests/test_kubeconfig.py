from pathlib import Path
from typing import Any

import pytest

from kindless import kubeconfig
from kindless.errors import Problem


def entry(name: str) -> dict[str, Any]:
    return kubeconfig.document(
        name, "https://127.0.0.1:1", authority=b"a", certificate=b"c", key=b"k"
    )


def test_an_entry_is_added_beside_others_and_taken_out_again(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "config"
    kubeconfig.add(file, entry("one"))
    kubeconfig.add(file, entry("two"))
    kubeconfig.add(file, entry("two"))
    content = kubeconfig.read(file)
    assert [cluster["name"] for cluster in content["clusters"]] == ["kind-one", "kind-two"]
    assert content["current-context"] == "kind-two"
    assert file.stat().st_mode & 0o077 == 0

    kubeconfig.remove(file, "two")
    content = kubeconfig.read(file)
    assert [user["name"] for user in content["users"]] == ["kind-one"]
    assert content["current-context"] == ""


def test_an_empty_file_is_filled_since_pytest_kind_makes_one(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.touch()
    kubeconfig.add(file, entry("one"))
    assert kubeconfig.read(file)["current-context"] == "kind-one"


def test_a_file_without_the_cluster_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "config"
    kubeconfig.remove(file, "one")
    assert not file.exists()


@pytest.mark.parametrize("content", ["- a list", "{"])
def test_what_is_no_kubeconfig_is_told(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    with pytest.raises(Problem, match="--kubeconfig"):
        kubeconfig.read(file)
