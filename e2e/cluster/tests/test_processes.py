import os
from pathlib import Path

from kindless import processes
from kindless.processes import Command


def test_a_spawned_process_carries_the_mark_and_is_ended_with_its_children(tmp_path: Path) -> None:
    # The child drops the mark, like a container's process.
    script = "env -i sleep 60 & wait"
    pid = processes.spawn(tmp_path, Command("shell", ["sh", "-c", script]))
    try:
        assert processes.belongs(pid, tmp_path)
        assert not processes.belongs(pid, tmp_path / "other")
        assert not processes.belongs(os.getpid(), tmp_path)
        assert pid in processes.family(tmp_path)
        assert (tmp_path / "pids" / "shell.pid").read_text() == str(pid)
    finally:
        members = processes.family(tmp_path)
        processes.end_all(tmp_path)
    assert not any(processes.alive(member) for member in members)


def test_a_command_is_kept_as_it_was(tmp_path: Path) -> None:
    command = Command("kubelet", ["kubelet", "--a=b c"], {"X": "y"})
    command.save(tmp_path)
    assert Command.load(tmp_path, "kubelet") == command
    assert Command.load(tmp_path, "kube-proxy") is None


def test_a_programs_name_may_hold_brackets_and_blanks() -> None:
    stat = "12 (odd) name) Z 7 12"
    assert processes.state_of(stat) == "Z"
    assert processes.parent_of(stat) == 7


def test_a_proxy_is_kept_out_of_the_cluster() -> None:
    assert processes.without_proxy({"PATH": "/bin"}) == {}
    exempt = processes.without_proxy({"https_proxy": "http://p", "no_proxy": "example.org"})
    assert exempt["NO_PROXY"] == exempt["no_proxy"]
    assert exempt["NO_PROXY"].startswith("example.org,localhost,")
