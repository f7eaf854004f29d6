#!/usr/bin/env python3
"""Puts the results of several servers side by side, per specification, in Markdown.

Usage: score.py JSON… [--failures FILE]
The first is ours. --failures writes what the others fail, each with its evidence.
"""

import json
import sys
from pathlib import Path

FAILED = ("fail", "diverges")
TESTED = ("pass", *FAILED)


def main(arguments):
    failures = None
    if "--failures" in arguments:
        at = arguments.index("--failures")
        failures = Path(arguments[at + 1])
        del arguments[at : at + 2]
    reports = [json.loads(Path(name).read_text(encoding="utf-8")) for name in arguments]
    print("\n".join(scores(reports)))
    print("\n".join(better(reports)))
    if failures:
        failures.write_text("\n".join(evidence(reports[1:])) + "\n", encoding="utf-8")


def scores(reports):
    """Passed of tested, by specification. What does not apply or cannot be seen from outside is in neither number."""
    verdicts = [{row["id"]: row["verdict"] for row in report["requirements"]} for report in reports]
    rows = reports[0]["requirements"]
    yield "| | " + " | ".join(report["target"] for report in reports) + " |"
    yield "|---|" + "---|" * len(reports)
    for spec in dict.fromkeys(row["spec"] for row in rows):
        ids = [row["id"] for row in rows if row["spec"] == spec]
        cells = [share(of, ids) for of in verdicts]
        if any(cells):
            yield f"| {spec} | " + " | ".join(cell or "–" for cell in cells) + " |"
    for title, wanted in (("all", lambda row: True), ("of these MUST", lambda row: row["level"].startswith("MUST"))):
        ids = [row["id"] for row in rows if wanted(row)]
        yield f"| **{title}** | " + " | ".join(share(of, ids) or "–" for of in verdicts) + " |"


def share(verdicts, ids):
    seen = [verdicts.get(id) for id in ids]
    tested = sum(verdict in TESTED for verdict in seen)
    return f"{seen.count('pass')} of {tested}" if tested else ""


def better(reports):
    """Where another passes and ours does not."""
    ours, *others = reports
    lost = {row["id"]: row for row in ours["requirements"] if row["verdict"] in FAILED}
    found = [
        f"- **{other['target']}** meets {row['id']} ({row['level']}): {row['requirement']}"
        for other in others
        for row in other["requirements"]
        if row["verdict"] == "pass" and row["id"] in lost
    ]
    yield ""
    yield "Where another is better:" if found else "No requirement that another meets and the first does not."
    yield from found


def evidence(reports):
    yield "# What the other servers fail, and the evidence"
    yield ""
    yield "Written by `make peers`. For each check the last exchange; all of them are in the text beside the results."
    for report in reports:
        yield f"\n## {report['target']}"
        failed = [row for row in report["requirements"] if row["verdict"] in FAILED]
        if not failed:
            yield "\nNothing."
        for row in failed:
            yield f"\n**{row['id']}** ({row['level']}): {row['requirement']}"
            for name in row["check"]:
                yield from told(name, report["checks"].get(name))


def told(name, check):
    if not check or check["verdict"] not in FAILED:
        return
    yield f"\n`{name}` expected {check['expected']}, and saw {check['seen']}"
    for exchange in check["evidence"][-1:]:
        sent, received = (cut(exchange[side]) for side in ("sent", "received"))
        yield f"\n```text\n# {exchange['with']}\n{sent}\n{received}{exchange.get('failure', '')}\n```"


def cut(text, longest=1200):
    text = text.replace("```", "'''").strip()
    return text if len(text) <= longest else text[:longest] + " …"


if __name__ == "__main__":
    main(sys.argv[1:])
