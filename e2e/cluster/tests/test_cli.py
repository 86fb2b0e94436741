from pathlib import Path

import pytest

from kindless import binaries, cli, lifecycle


def test_it_takes_what_pytest_kind_says() -> None:
    parser = cli.parser()
    created = parser.parse_args(
        ["create", "cluster", "--name=a", "--kubeconfig=k", "--image=i", "--config", "c"]
    )
    assert (created.name, created.kubeconfig, created.no_node) == ("a", Path("k"), False)
    loaded = parser.parse_args(["load", "docker-image", "--name", "a", "image:1"])
    assert loaded.images == ["image:1"]
    parser.parse_args(["delete", "cluster", "--name=a", "--kubeconfig=k"])
    parser.parse_args(["get", "clusters"])


def test_a_problem_is_one_sentence_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["get", "kubeconfig", "--name", "none"]) == 1
    assert capsys.readouterr().err.startswith("ERROR: There is no cluster 'none'")


def test_wrong_usage_is_exit_code_2() -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["frobnicate"])
    assert ended.value.code == 2


def test_which_tells_where_a_program_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = binaries.BINARIES["helm"].path()
    built.parent.mkdir(parents=True)
    built.touch()
    assert cli.main(["which", "helm"]) == 0
    assert capsys.readouterr() == (f"{built}\n", "")
    with pytest.raises(SystemExit):
        cli.main(["which", "no-such-program"])


def test_no_cluster_is_told_as_kind_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["get", "clusters"]) == 0
    assert capsys.readouterr() == ("", "No kind clusters found.\n")


def test_deleting_what_is_not_there_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert lifecycle.delete("none") is False
