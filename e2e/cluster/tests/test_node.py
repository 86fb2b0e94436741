import io
import json
import tarfile
from hashlib import sha256
from pathlib import Path

from kindless import node


def test_mounts_below_a_folder_are_found_by_their_real_names() -> None:
    mountinfo = (
        "22 1 8:1 / / rw - ext4 /dev/a rw\n"
        "30 22 0:4 net /cache/one/with\\040blank rw shared:1 - nsfs nsfs rw\n"
        "31 22 0:4 net /cache/one-more/x rw - nsfs nsfs rw\n"
        "32 30 0:5 / /cache/one/with\\040blank/in rw - tmpfs tmpfs rw\n"
    )
    found = node.mounts_below(Path("/cache/one"), mountinfo)
    assert found == ["/cache/one/with blank", "/cache/one/with blank/in"]


def test_the_pause_image_is_what_containerd_imports() -> None:
    content = node.image_archive("localhost/pause:1", b"program")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {
            member.name: opened.read()
            for member in archive
            if (opened := archive.extractfile(member)) is not None
        }
    manifest = json.loads(files["manifest.json"])[0]
    config = json.loads(files[manifest["Config"]])
    layer = files[manifest["Layers"][0]]
    assert manifest["RepoTags"] == ["localhost/pause:1"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{sha256(layer).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        assert archive.getmember("pause").mode == 0o755
