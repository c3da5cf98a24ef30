"""One class per server: how it is prepared, started and asked. Nothing else here knows the servers apart."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

from . import http
from .data import REPOSITORY

PUSH_REPOSITORY = "bench/push"
SERVER_CORE, LOAD_CORE = (0, 1) if (os.cpu_count() or 1) > 1 else (0, 0)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def own_certificate(folder):
    """A self-signed certificate for 127.0.0.1, for the peers."""
    certificate, key = os.path.join(folder, "peer-cert.pem"), os.path.join(folder, "peer-key.pem")
    if not os.path.exists(certificate):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
                       check=True, capture_output=True)
    return certificate, key


class Server:
    name = ""
    can_push = True
    cores = str(SERVER_CORE)

    def __init__(self, folder, data):
        self.folder, self.data, self.port = os.path.join(folder, self.name), data, free_port()
        self.process = self.ca_file = None
        self.tls = False
        os.makedirs(self.folder, exist_ok=True)

    # What a subclass says.
    def command(self):
        raise NotImplementedError

    def prepare(self):
        """Once per run, before the first start."""

    def seed(self):
        """Once per run, in the first phase, with the server running."""
        http.push_all(self.port, self.ca_file, self.data, self.headers())

    def headers(self):
        """What a request must carry; asked for anew before each round."""
        return {}

    def ready_path(self):
        return "/v2/"

    def data_folder(self):
        return os.path.join(self.folder, "data")

    # What all have in common.
    def start(self, tls):
        """Starts the server and returns the seconds until its first 200."""
        headers = self.start_headers()
        self.tls = tls
        log = open(os.path.join(self.folder, "log"), "ab")
        begin = time.monotonic()
        self.process = subprocess.Popen(["taskset", "-c", self.cores, *self.command()], stdout=log, stderr=log,
                                        stdin=subprocess.DEVNULL, env={**os.environ, "SWIFT_BACKTRACE": "enable=no"})
        log.close()
        self.wait_ready(begin, headers)
        return time.monotonic() - begin

    def start_headers(self):
        """Headers for the first request after a start, where they can be known before it."""
        return {}

    def wait_ready(self, begin, headers):
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        ask = f"GET {self.ready_path()} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{lines}Connection: close\r\n\r\n".encode()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        answer = b""
        while time.monotonic() - begin < 60:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see {self.folder}/log")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                    # As every client of today: else the request waits for the other end to acknowledge the handshake, 40 ms.
                    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    channel = context.wrap_socket(s) if self.tls else s
                    channel.sendall(ask)
                    answer = channel.recv(4096)
                    if answer.startswith(self.ready_answers()):
                        return
            except OSError:
                pass
            time.sleep(0.0005)
        raise RuntimeError(f"{self.name} did not become ready; last answer {answer[:200]!r}; see {self.folder}/log")

    def ready_answers(self):
        return (b"HTTP/1.1 200",)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def process_ids(self):
        """The server's process and its children (nginx has a worker)."""
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            try:
                with open(f"/proc/{pid}/task/{pid}/children") as f:
                    waiting += [int(child) for child in f.read().split()]
            except OSError:
                pass
        return found

    def large_files(self):
        """Blobs of 32 MiB and more in the data folder: what a push round left behind is removed after it."""
        return {os.path.join(top, name) for top, _, names in os.walk(self.data_folder()) if "/blobs" in top for name in names
                if os.path.getsize(os.path.join(top, name)) >= 32 << 20}


class Nginx(Server):
    """Files behind the registry's paths: what the machine can do for reads. It authenticates nobody and takes no pushes."""
    name, can_push = "nginx", False

    def prepare(self):
        root = os.path.join(self.data_folder(), "v2", *REPOSITORY.split("/"))
        for kind in ("manifests", "blobs"):
            os.makedirs(os.path.join(root, kind), exist_ok=True)
        for source, target in [(self.data.manifest, "manifests/v1")] + [(b, "blobs/" + b.digest) for b in self.data.blobs]:
            target = os.path.join(root, target)
            if os.path.lexists(target):
                os.remove(target)
            os.link(source.path, target)
        with open(os.path.join(self.data_folder(), "ready"), "w") as f:
            f.write("ok\n")

    def seed(self):
        pass

    def ready_path(self):
        return "/ready"

    def command(self):
        path = os.path.join(self.folder, "nginx.conf")
        self.ca_file, key = own_certificate(self.folder) if self.tls else (None, None)
        tls = f"ssl_certificate {self.ca_file}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;" if self.tls else ""
        temporary = " ".join(f"{kind}_temp_path {self.folder}/temp-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(path, "w") as f:
            f.write(f"""daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log error;
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; {temporary}
    open_file_cache max=1000 inactive=600s; open_file_cache_valid 600s;
    tcp_nopush off; tcp_nodelay on; sendfile on; sendfile_max_chunk 2m; default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{self.port}{" ssl" if self.tls else ""} backlog=1024; root {self.data_folder()}; {tls}
        location ~ /manifests/ {{ sendfile off; default_type {self.data.manifest_type}; }}
    }}
}}
""")
        return ["nginx", "-c", path, "-e", os.path.join(self.folder, "error.log")]


class DockerRegistry(Server):
    """Debian's docker-registry (distribution 2.8) on the file system, with its descriptor cache, without authentication."""
    name = "docker-registry"

    def prepare(self):
        shutil.rmtree(self.data_folder(), ignore_errors=True)

    def command(self):
        path = os.path.join(self.folder, "config.yml")
        self.ca_file, key = own_certificate(self.folder) if self.tls else (None, None)
        http_section = {"addr": f"127.0.0.1:{self.port}", "secret": "benchmark"}
        if self.tls:
            http_section["tls"] = {"certificate": self.ca_file, "key": key}
        with open(path, "w") as f:  # JSON is YAML
            json.dump({"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
                       "storage": {"filesystem": {"rootdirectory": self.data_folder(), "maxthreads": 100}, "cache": {"blobdescriptor": "inmemory"},
                                   "maintenance": {"uploadpurging": {"enabled": False}}},
                       "http": http_section}, f)
        return ["docker-registry", "serve", path]


class Outport(Server):
    """Ours, with everything on: a token of the registry in each request, durable pushes. The control plane is set up over TLS,
    then the same data folder is served in the mode asked for."""
    name = "outport"

    def __init__(self, folder, data, binary):
        super().__init__(folder, data)
        self.binary = os.path.abspath(binary)
        self.user = self.password = self.last_token = None
        self.token_time = 0.0

    def prepare(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        try:
            super().start(tls=True)
            with open(os.path.join(self.data_folder(), "bootstrap.json")) as f:
                b = json.load(f)
            self.run("login", "--service-principal", "-u", b["clientId"], "-p", b["clientSecret"], "--tenant", b["tenantId"],
                     "--server", f"https://127.0.0.1:{self.port}", "--ca", b["caFile"])
            self.run("group", "create", "-n", "bench", "-l", "eastus")
            self.run("acr", "create", "-n", "benchreg", "-g", "bench", "--sku", "Premium")
            token = json.loads(self.run("acr", "token", "create", "-n", "bench", "-r", "benchreg", "--scope-map", "_repositories_admin",
                                        "-o", "json"))
            credentials = token["credentials"]
            self.user, self.password = credentials["username"], credentials["passwords"][0]["value"]
        finally:
            self.stop()

    def run(self, *arguments):
        done = subprocess.run([self.binary, *arguments], capture_output=True, text=True,
                              env={**os.environ, "HOME": self.folder, "SWIFT_BACKTRACE": "enable=no"})
        if done.returncode != 0:
            verb = " ".join(a for a in arguments[:3] if not a.startswith("-"))
            raise RuntimeError(f"outport {verb}: exit {done.returncode}: {done.stderr.strip()[:600]}")
        return done.stdout

    def command(self):
        self.ca_file = os.path.join(self.data_folder(), "tls", "ca.pem") if self.tls else None
        return [self.binary, "serve", "--data", self.data_folder(), "--listen", f"127.0.0.1:{self.port}"] + ([] if self.tls else ["--http"])

    def ready_answers(self):
        # Before the first token there is none to send: the challenge is the first answer then, and before the first registry
        # that there is none.
        if self.user is None:
            return (b"HTTP/1.1 404",)
        return (b"HTTP/1.1 200",) if self.last_token else (b"HTTP/1.1 200", b"HTTP/1.1 401")

    def headers(self):
        scopes = [f"repository:{name}:pull,push" for name in (REPOSITORY, PUSH_REPOSITORY)]
        self.last_token = http.bearer(self.port, self.ca_file, self.user, self.password, scopes)
        self.token_time = time.monotonic()
        return {"Authorization": "Bearer " + self.last_token}

    def start(self, tls):
        # A token of the run before serves for the first 200; one that may have expired is not used.
        if time.monotonic() - self.token_time > 240:
            self.last_token = None
        return super().start(tls)

    def start_headers(self):
        return {"Authorization": "Bearer " + self.last_token} if self.last_token else {}
