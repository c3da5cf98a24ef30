"""A small image under many names, and many repositories with a little in each."""

import base64
import hashlib
import json
import os
import time

from . import http

IMAGE = "application/vnd.oci.image."
AT_ONCE = 60


def push_tags(server, repository, tags):
    """One small image under many names, to ours."""
    config, layer = b"{}", os.urandom(1000)
    digest = lambda content: "sha256:" + hashlib.sha256(content).hexdigest()  # noqa: E731
    connection = http.connect(server.port, server.ca_file)

    def headers():
        return {"Authorization": "Bearer " + http.bearer(server.port, server.ca_file, server.user, server.password,
                                                         [f"repository:{repository}:pull,push"])}

    known = headers()
    for content in (config, layer):
        response, _ = http.request(connection, "POST", f"/v2/{repository}/blobs/uploads/", (202,), headers={**known, "Content-Length": "0"})
        location = http.local(response.getheader("Location"))
        http.request(connection, "PUT", location + ("&" if "?" in location else "?") + "digest=" + digest(content), (201,), body=content,
                     headers={**known, "Content-Type": "application/octet-stream"})
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": IMAGE + "manifest.v1+json",
        "config": {"mediaType": IMAGE + "config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": IMAGE + "layer.v1.tar", "digest": digest(layer), "size": len(layer)}]})
    asked = time.monotonic()
    for start in range(0, len(tags), AT_ONCE):
        if time.monotonic() - asked > 200:
            known, asked = headers(), time.monotonic()
        first, *more = tags[start:start + AT_ONCE]
        query = "?" + "&".join("tag=" + tag for tag in more) if more else ""
        http.request(connection, "PUT", f"/v2/{repository}/manifests/{first}{query}", (201,), body=manifest.encode(),
                     headers={**known, "Content-Type": IMAGE + "manifest.v1+json"})
    connection.close()


def push_indexes(server, repositories):
    """An index of nothing to each repository, to ours."""
    connection = http.connect(server.port, server.ca_file)
    credentials = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    index = json.dumps({"schemaVersion": 2, "mediaType": IMAGE + "index.v1+json", "manifests": []}).encode()
    for name in repositories:
        http.request(connection, "PUT", f"/v2/{name}/manifests/latest", (201,), body=index,
                     headers={"Authorization": "Basic " + credentials, "Content-Type": IMAGE + "index.v1+json"})
    connection.close()
