import pytest

from kindless import binaries
from kindless.errors import Problem


def test_a_key_differs_when_any_part_differs() -> None:
    key = binaries.key_of(b"go.mod", b"go.sum")
    assert key == binaries.key_of(b"go.mod", b"go.sum")
    assert key != binaries.key_of(b"go.mod", b"go.sum ")
    assert key != binaries.key_of(b"go.modg", b"o.sum")


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
