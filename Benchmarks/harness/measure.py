"""What is measured, and one round of it: the load client's figures with the CPU time of everybody involved."""

import json
import os
import resource
import subprocess
import time

from .data import KIB, Data
from .servers import LOAD_CORE, PUSH_REPOSITORY

TICKS = os.sysconf("SC_CLK_TCK")
OTHERS_LIMIT = 0.25     # cores used by processes that are no part of the benchmark, or stolen by a hypervisor
SATURATED = 0.97        # of the load's core


class Metric:
    """`unit` names the figure that is compared: `rate` (per second) or `bytes` (GB/s)."""

    def __init__(self, key, title, unit, arguments, push=False, count=None):
        self.key, self.title, self.unit, self.arguments, self.push, self.count = key, title, unit, arguments, push, count


def manifest_request(data: Data):
    # docker-registry answers 404 to a client that does not say it takes OCI manifests.
    return ["--path", data.manifest_path, "--header", "Accept: " + data.manifest_type]


def metrics(data: Data):
    manifest = manifest_request(data)
    mib = [part for blob in data.mib for part in ("--path", data.path_of(blob))]
    huge, huge_name = data.path_of(data.huge), f"{data.huge.size >> 20} MiB" if data.huge.size < 1 << 30 else f"{data.huge.size >> 30} GiB"
    small = ["--repository", PUSH_REPOSITORY, "--size", str(8 * KIB)]
    return [
        Metric("manifest", "manifest GET 1.5 KB × 64", "rate", ["get", "--connections", "64", *manifest]),
        # The time it takes to make so many connections is not what is measured.
        Metric("manifest-many", "manifest GET 1.5 KB × 256", "rate", ["get", "--connections", "256", "--warm-up", "1", *manifest]),
        Metric("head", "manifest HEAD × 64", "rate", ["get", "--head", "--connections", "64", *manifest]),
        Metric("blob", "blob GET 1 MiB × 64", "bytes", ["get", "--connections", "64", *mib]),
        Metric("range", "range 64 KiB of 64 MiB × 16", "bytes",
               ["get", "--connections", "16", "--path", data.path_of(data.large), "--range", f"{1 << 20}-{(1 << 20) + 64 * KIB - 1}"]),
        Metric("huge", f"blob GET {huge_name} × 1", "bytes", ["get", "--connections", "1", "--path", huge]),
        Metric("push-large", "push 64 MiB × 1", "bytes", ["push", "--repository", PUSH_REPOSITORY, "--file", data.large.path], push=True),
        Metric("push-huge", f"push {huge_name} × 1", "bytes", ["push", "--repository", PUSH_REPOSITORY, "--file", data.huge.path],
               push=True, count=1),
        Metric("push-small-1", "push 8 KiB blobs × 1", "rate", ["push", "--connections", "1", *small], push=True),
        Metric("push-small-16", "push 8 KiB blobs × 16", "rate", ["push", "--connections", "16", *small], push=True),
        Metric("push-image-1", "push small images × 1", "rate", ["push", "--images", "--connections", "1", *small], push=True),
        Metric("push-image-16", "push small images × 16", "rate", ["push", "--images", "--connections", "16", *small], push=True),
    ]


def memory_metrics(data: Data):
    """Resident memory is read while these run."""
    manifest = manifest_request(data)
    mib = [part for blob in data.mib for part in ("--path", data.path_of(blob))]
    return [
        Metric("memory-manifest", "memory, manifests × 256", "memory", ["get", "--connections", "256", *manifest]),
        Metric("memory-blob", "memory, 1 MiB blobs × 256", "memory", ["get", "--connections", "256", *mib]),
    ]


def busy_seconds():
    """CPU time of all processes, and what a hypervisor took away; interrupts are left out because they belong to nobody."""
    with open("/proc/stat") as f:
        fields = f.readline().split()
    return sum(int(fields[i]) for i in (1, 2, 3, 8)) / TICKS


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / TICKS


def resident(pids):
    """Bytes resident, summed over the server's processes."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status") as f:
                total += sum(int(line.split()[1]) * KIB for line in f if line.startswith("VmRSS:"))
        except OSError:
            pass
    return total


def own_seconds():
    return sum(u.ru_utime + u.ru_stime for u in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)))


class LoadFailed(Exception):
    pass


def round_of(metric, server, load, seconds, seed):
    """One round against one server. `others` is in cores; a round is `clean` when it may count."""
    command = [load, *metric.arguments, "--port", str(server.port), "--seconds", str(seconds), "--cpu", str(LOAD_CORE)]
    command += ["--tls"] if server.tls else []
    command += ["--seed", str(seed)] if metric.push else []
    command += ["--count", str(metric.count)] if metric.count else []
    for name, value in server.headers().items():
        command += ["--header", f"{name}: {value}"]
    before = server.large_files() if metric.push else set()
    if metric.push:
        os.sync()
    pids = server.process_ids()
    busy, own, served, begin = busy_seconds(), own_seconds(), cpu_seconds(pids), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        if metric.unit == "memory":
            peak = max(peak, resident(pids))
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            pass
    output, errors = process.communicate()
    wall = time.monotonic() - begin
    served = cpu_seconds(pids) - served
    others = max(0.0, busy_seconds() - busy - served - (own_seconds() - own)) / wall
    if metric.push:
        for path in server.large_files() - before:
            os.remove(path)
    if process.returncode != 0:
        raise LoadFailed(f"{server.name}, {metric.title}: {errors.strip()[:700]}")
    result = json.loads(output)
    if result["total_bytes"] == 0 and result["requests"] == 0:
        raise LoadFailed(f"{server.name}, {metric.title}: no answer within {seconds} s")
    result.update(others=others, server_cpu_seconds=served, peak_resident=peak,
                  client_load=result["client_cpu_seconds"] / result["seconds"],
                  server_cpu_per_gb=served / (result["total_bytes"] / 1e9) if result["total_bytes"] else None)
    result["clean"] = others <= OTHERS_LIMIT
    result["saturated"] = result["client_load"] > SATURATED
    return result
