"""The data that is read and pushed: always the same bytes, made from one seed, kept between runs."""

import hashlib
import json
import os
import random

SEED = 20261121
REPOSITORY = "bench/app"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Blob:
    def __init__(self, path, digest, size):
        self.path, self.digest, self.size = path, digest, size


def _make(folder, name, size, seed):
    """A file of random bytes and its digest; both are kept, so that a second run starts at once."""
    path, note = os.path.join(folder, name), os.path.join(folder, name + ".sha256")
    if os.path.exists(note) and os.path.exists(path) and os.path.getsize(path) == size:
        with open(note) as f:
            return Blob(path, f.read().strip(), size)
    source, digest = random.Random(f"{SEED}/{seed}"), hashlib.sha256()
    with open(path + ".part", "wb") as f:
        left = size
        while left > 0:
            piece = source.randbytes(min(left, MIB))
            digest.update(piece)
            f.write(piece)
            left -= len(piece)
    os.replace(path + ".part", path)
    with open(note, "w") as f:
        f.write("sha256:" + digest.hexdigest())
    return Blob(path, "sha256:" + digest.hexdigest(), size)


class Data:
    """`manifest` (1.5 KB, with its blobs in `layers`), `mib` (eight blobs of 1 MiB), `large` (64 MiB), `huge` (1 GiB or less)."""

    def __init__(self, folder, huge_size):
        os.makedirs(folder, exist_ok=True)
        self.layers = [_make(folder, f"layer-{i}", 1024 + i, f"layer-{i}") for i in range(8)]
        self.mib = [_make(folder, f"mib-{i}", MIB, f"mib-{i}") for i in range(8)]
        self.large = _make(folder, "large", 64 * MIB, "large")
        self.huge = _make(folder, f"huge-{huge_size // MIB}", huge_size, "huge")
        config = json.dumps({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in self.layers]},
        }).encode()
        self.config = self._bytes(folder, "config", config)
        image = "application/vnd.oci.image."
        self.manifest_type = image + "manifest.v1+json"
        self.manifest = self._bytes(folder, "manifest", json.dumps({
            "schemaVersion": 2, "mediaType": self.manifest_type,
            "config": {"mediaType": image + "config.v1+json", "digest": self.config.digest, "size": self.config.size},
            "layers": [{"mediaType": image + "layer.v1.tar", "digest": b.digest, "size": b.size} for b in self.layers],
        }).encode())
        self.manifest_path = f"/v2/{REPOSITORY}/manifests/v1"

    @staticmethod
    def _bytes(folder, name, content):
        path = os.path.join(folder, name)
        with open(path, "wb") as f:
            f.write(content)
        return Blob(path, "sha256:" + hashlib.sha256(content).hexdigest(), len(content))

    @property
    def blobs(self):
        return [self.config, *self.layers, *self.mib, self.large, self.huge]

    @staticmethod
    def path_of(blob):
        return f"/v2/{REPOSITORY}/blobs/{blob.digest}"
