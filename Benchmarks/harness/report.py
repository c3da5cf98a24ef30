"""Medians, ratios and machine facts, as a Markdown table for people and JSON for tools."""

import os
import platform
import statistics
import subprocess

from .data import SEED
from .measure import OTHERS_LIMIT

OURS = "outport"


def counted(rounds):
    """Rounds disturbed by others or with the client at its limit are left out, unless that leaves none."""
    quiet = [r for r in rounds if r["clean"]] or rounds
    return [r for r in quiet if not r["saturated"]] or quiet


def figure(metric, rounds):
    key = {"rate": "rate", "bytes": "bytes_per_second", "memory": "peak_resident", "idle": "peak_resident", "start": "seconds"}[metric["unit"]]
    return statistics.median(r[key] for r in rounds)


def cell(metric, rounds):
    used = counted(rounds)
    value, unit = figure(metric, used), metric["unit"]
    marks = ("°" if not all(r["clean"] for r in used) else "") + ("*" if any(r["saturated"] for r in used) else "")
    if unit == "start":
        return f"{value * 1000:,.0f} ms{marks}"
    if unit in ("memory", "idle"):
        return f"{value / 1e6:,.0f} MB{marks}"
    p50, p99 = (statistics.median(r[k] for r in used) for k in ("p50_ms", "p99_ms"))
    if unit == "rate":
        return f"{value:,.0f}/s ({p50:.3g}/{p99:.3g} ms){marks}"
    per_gb = statistics.median(r["server_cpu_per_gb"] or 0 for r in used)
    return f"{value / 1e9:.2f} GB/s ({per_gb:.2f} CPU-s/GB){marks}"


def ratio(metric, ours, theirs):
    if not ours or not theirs:
        return "—"
    a, b = figure(metric, counted(ours)), figure(metric, counted(theirs))
    return f"{a / b:.2f}×" if b else "—"


def markdown(results, servers, facts):
    first = OURS if OURS in servers else servers[0]
    peers = [s for s in servers if s != first]
    head = ["work", *servers, *(f"{first} / {p}" for p in peers)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in results:
        rounds = row["rounds"]
        cells = [f"{row['title']}, {row['mode']}"]
        cells += [cell(row, rounds[s]) if rounds.get(s) else "—" for s in servers]
        cells += [ratio(row, rounds.get(first), rounds.get(p)) for p in peers]
        lines.append("| " + " | ".join(cells) + " |")
    total = sum(len(r) for row in results for r in row["rounds"].values())
    dropped = sum(len(r) - len(counted(r)) for row in results for r in row["rounds"].values())
    notes = [
        "",
        "In brackets: latency p50/p99, or the server's CPU seconds per GB. Higher is better for rates, lower for memory and start-up "
        "(from the command to the first 200).",
        f"{dropped} of {total} rounds left out (others used more than {OTHERS_LIMIT} core, or the client was at its limit). "
        "° = no quiet round; * = the client was at its limit, the server can do more.",
        f"nginx serves plain files without authentication and takes no pushes. {'outport checks a token in every request.' if OURS in servers else ''}",
        "",
    ] + [f"- {name}: {value}" for name, value in facts.items()]
    return "\n".join(lines + notes) + "\n"


def _output(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return "unknown"


def _first(path, prefix):
    try:
        with open(path) as f:
            return next(line.split(":" if ":" in line else "=", 1)[1].strip().strip('"') for line in f if line.startswith(prefix))
    except (OSError, StopIteration):
        return "unknown"


def machine(folder, servers, options):
    filesystem = _output("stat", "-f", "-c", "%T", folder)
    facts = {
        "machine": f"{os.cpu_count()} cores, {_first('/proc/cpuinfo', 'model name')}, {_first('/proc/meminfo', 'MemTotal')} memory, {filesystem}",
        "system": f"{_first('/etc/os-release', 'PRETTY_NAME')}, Linux {platform.release()}",
        "load average before": " ".join(f"{x:.2f}" for x in os.getloadavg()),
        "rounds": f"{options.rounds} of {options.seconds} s, servers on one core, load on another, seed {SEED}",
    }
    if OURS in servers:
        facts["swift"] = _output("swift", "--version")
        facts["commit"] = _output("git", "describe", "--always", "--dirty")
    if "nginx" in servers:
        facts["nginx"] = _output("nginx", "-v")
    if "docker-registry" in servers:
        facts["docker-registry"] = _output("docker-registry", "--version")
    return facts
