from dataclasses import replace
from pathlib import Path

import pytest

from kindless import binaries, paths
from kindless.errors import Problem


def test_a_key_differs_when_any_part_differs() -> None:
    key = binaries.key_of(b"go.mod", b"go.sum")
    assert key == binaries.key_of(b"go.mod", b"go.sum")
    assert key != binaries.key_of(b"go.mod", b"go.sum ")
    assert key != binaries.key_of(b"go.modg", b"o.sum")


def test_a_module_with_code_of_its_own_is_another_when_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binaries.go_version()  # asked, once, in a module that is not there then
    monkeypatch.setattr(paths, "tools", lambda: tmp_path)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "go.mod").write_text("require example.org/a v1.0.0\n")
    (folder / "go.sum").touch()
    (folder / "main.go").write_text("package main\n")
    module = binaries.Module("own", "example.org/a")
    before = module.key()
    assert module.key() == before
    (folder / "main.go").write_text("package main\n\nfunc main() {}\n")
    assert module.key() != before


def test_other_build_tags_make_another_module() -> None:
    plain = binaries.Module("prometheus", "github.com/prometheus/prometheus")
    assert plain.key() != replace(plain, tags=("remove_all_sd",)).key()


def test_the_version_is_the_pinned_one() -> None:
    pins = "require (\n\texample.org/a/b v1.0.0\n\texample.org/a v1.2.3 // indirect\n)\n"
    assert binaries.version_of("example.org/a", pins) == "v1.2.3"
    assert binaries.version_of("example.org/a", "require example.org/a v2.0.0\n") == "v2.0.0"
    with pytest.raises(Problem, match="does not pin"):
        binaries.version_of("example.org/c", pins)


def test_each_binary_is_a_tool_of_its_module() -> None:
    for binary in binaries.BINARIES.values():
        assert binary.package in (binary.module.folder / "go.mod").read_text()
        assert (binary.module.folder / "go.sum").exists()
        assert binary.module.version().startswith("v")
