from pathlib import Path

import pytest

from kindless import record
from kindless.errors import Problem
from kindless.record import Cluster


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("name", ["", "Upper", "under_score", "a/b", "-a", "a-", "..", "a" * 41])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Problem, match="is no cluster name"):
        record.check_name(name)


def test_ports_are_all_different_and_none_is_taken() -> None:
    first = record.choose_ports([])
    second = record.choose_ports(first.values())
    assert len({*first.values(), *second.values()}) == 2 * len(record.PORTS)


def test_a_record_is_read_as_written() -> None:
    cluster = Cluster("one", real_node=False, ports={"etcd": 1}, ready=True)
    cluster.save()
    assert record.load("one") == cluster
    assert record.every() == [cluster]
    assert record.load("two") is None
    with pytest.raises(Problem, match="There is no cluster 'two'"):
        record.existing("two")


def test_a_record_of_another_version_is_read_as_far_as_it_is_understood() -> None:
    cluster = Cluster("one", ports={"etcd": 1})
    cluster.save()
    file = cluster.folder / "cluster.json"
    file.write_text(file.read_text().replace("{", '{"novelty": true,', 1))
    assert record.every() == [cluster]
