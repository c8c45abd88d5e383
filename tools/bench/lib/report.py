"""Samples to numbers that one may quote: medians with their spread, ratios to the best rival."""

import statistics

from .peers import PEERS
from .scenarios import FIGURES


def spread(samples, key):
    """(median, minimum, maximum) of a number over the samples that have it, None without any."""
    values = [s[key] for s in samples if key in s]
    return (statistics.median(values), min(values), max(values)) if values else None


def best_rival(samples, key):
    """(name, median) of the best of the peers that ratios are formed to, or None."""
    medians = [(spread(rows, key)[0], name) for name, rows in samples.items()
               if PEERS[name].rival and spread(rows, key)]
    return min(medians)[::-1] if medians else None


def _number(value, digits):
    return f"{value:,.{digits}f}".replace(",", " ")


def _cells(scenario, name, rows, best, bound):
    figure = FIGURES[scenario.kind]
    main = spread(rows, figure.key)
    if main is None:
        return None
    text = _number(main[0], figure.digits)
    if len(rows) > 1:
        text += f" [{_number(main[1], figure.digits)}-{_number(main[2], figure.digits)}]"
    cells = [name, text]
    if scenario.kind in ("throughput", "latency"):
        user, system = spread(rows, "user_us")[0], spread(rows, "system_us")[0]
        if scenario.kind == "latency":
            cells.append(_number(spread(rows, "cpu_us")[0], 1))
        cells.append(f"{user:.1f} + {system:.1f}")
        cells += [_number(spread(rows, key)[0], digits) if spread(rows, key) else "-"
                  for key, digits in (("rps", 0), ("p50_us", 0), ("p99_us", 0), ("memory_mib", 1))
                  if key != figure.key]
    elif scenario.kind == "idle":
        cells.append(_number(spread(rows, "memory_mib")[0], 1))
    elif scenario.kind == "syscalls":
        calls = sorted(rows[0]["calls"].items(), key=lambda item: -item[1])
        cells.append(", ".join(f"{call} {n:.2f}" for call, n in calls[:6]))
    for reference in (best, bound):
        cells.append(f"{main[0] / reference:.2f}" if reference and reference > 0 else "-")
    errors = sum(s.get("errors", 0) for s in rows)
    cells.append(_note(rows, errors))
    return cells


def _note(rows, errors):
    notes = []
    if errors:
        first = next((s["first_error"] for s in rows if s.get("first_error")), "")
        notes.append(f"**{errors} errors: {first}**")
    failed = [s["failed"] for s in rows if "failed" in s]
    if failed:
        notes.append("**failed: " + failed[0].replace("\n", " ").replace("|", "/")[:120] + "**")
    return "; ".join(notes)


def _headings(scenario):
    figure = FIGURES[scenario.kind]
    heads = ["peer", figure.title]
    if scenario.kind == "throughput":
        heads += ["user + system", "requests/s", "p50 us", "p99 us", "memory MiB"]
    elif scenario.kind == "latency":
        heads += ["CPU us/request", "user + system", "requests/s", "p50 us", "memory MiB"]
    elif scenario.kind == "idle":
        heads += ["memory MiB"]
    elif scenario.kind == "syscalls":
        heads += ["of these"]
    return heads + ["to best peer", "to forwarder", "note"]


def markdown(scenario, samples):
    """The table of one scenario."""
    figure = FIGURES[scenario.kind]
    rival = best_rival(samples, figure.key)
    bound = spread(samples.get("forwarder", []), figure.key)
    lines = [f"### {scenario.name}: {scenario.title}", ""]
    if scenario.target:
        lines += [f"Target: {scenario.target}.", ""]
    heads = _headings(scenario)
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, rows in samples.items():
        cells = _cells(scenario, name, rows, rival and rival[1], bound and bound[0])
        if cells is None:
            cells = [name] + ["-"] * (len(heads) - 2) + [_note(rows, 0)]
        lines.append("| " + " | ".join(cells) + " |")
    rows = [s for peer in samples.values() for s in peer if "others_busy" in s]
    if rows:
        others = statistics.median(s["others_busy"] for s in rows)
        rates = {s["rate"] for s in rows if "rate" in s}
        rate = f" Rate: {_number(rates.pop(), 0)} requests/s." if rates else ""
        lines += ["", f"Other programs used {others:.2f} of the machine's cores meanwhile.{rate}"]
    return "\n".join(lines) + "\n"
