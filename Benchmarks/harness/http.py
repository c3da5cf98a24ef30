"""The runner's own requests: seeding a server, checking once that it answers with the right bytes, and tokens."""

import base64
import hashlib
import http.client
import json
import re
import ssl
import urllib.parse

from .data import MIB, REPOSITORY


class Unexpected(Exception):
    pass


def connect(port, ca_file, timeout=120):
    if ca_file is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=timeout, context=ssl.create_default_context(cafile=ca_file))


def request(connection, method, path, wanted, body=None, headers=None):
    connection.request(method, path, body=body, headers=headers or {})
    response = connection.getresponse()
    content = response.read()
    if response.status not in wanted:
        raise Unexpected(f"{method} {path}: {response.status} {content[:300]!r}")
    return response, content


def local(location):
    """Path and query of a Location header, be it absolute or not."""
    parts = urllib.parse.urlsplit(location)
    return parts.path + ("?" + parts.query if parts.query else "")


def push_blob(connection, blob, headers):
    response, _ = request(connection, "HEAD", f"/v2/{REPOSITORY}/blobs/{blob.digest}", (200, 404), headers=headers)
    if response.status == 200:
        return
    response, _ = request(connection, "POST", f"/v2/{REPOSITORY}/blobs/uploads/", (202,), headers={**headers, "Content-Length": "0"})
    location = local(response.getheader("Location"))
    location += ("&" if "?" in location else "?") + "digest=" + urllib.parse.quote(blob.digest, safe="")
    with open(blob.path, "rb") as f:
        request(connection, "PUT", location, (201,), body=f,
                headers={**headers, "Content-Length": str(blob.size), "Content-Type": "application/octet-stream"})


def push_all(port, ca_file, data, headers):
    connection = connect(port, ca_file)
    for blob in data.blobs:
        push_blob(connection, blob, headers)
    with open(data.manifest.path, "rb") as f:
        request(connection, "PUT", data.manifest_path, (201,), body=f.read(), headers={**headers, "Content-Type": data.manifest_type})
    connection.close()


def verify_all(port, ca_file, data, headers):
    """Every object that will be measured is read once and its digest compared, with the certificate checked."""
    for path, blob in [(data.manifest_path, data.manifest)] + [(data.path_of(b), b) for b in data.blobs]:
        connection = connect(port, ca_file)
        connection.request("GET", path, headers={**headers, "Accept": data.manifest_type})
        response = connection.getresponse()
        if response.status != 200:
            raise Unexpected(f"GET {path}: {response.status} {response.read(300)!r}")
        digest = hashlib.sha256()
        while piece := response.read(MIB):
            digest.update(piece)
        if "sha256:" + digest.hexdigest() != blob.digest:
            raise Unexpected(f"GET {path}: wrong bytes")
        connection.close()


def bearer(port, ca_file, user, password, scopes):
    """The docker token flow: 401 with a challenge, then the realm with the user's name and password."""
    connection = connect(port, ca_file)
    response, _ = request(connection, "GET", "/v2/", (401,))
    challenge = dict(re.findall(r'(\w+)="([^"]*)"', response.getheader("WWW-Authenticate", "")))
    query = urllib.parse.urlencode([("service", challenge["service"])] + [("scope", s) for s in scopes])
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    _, content = request(connection, "GET", urllib.parse.urlsplit(challenge["realm"]).path + "?" + query, (200,),
                         headers={"Authorization": "Basic " + basic})
    connection.close()
    answer = json.loads(content)
    return answer.get("access_token") or answer["token"]
