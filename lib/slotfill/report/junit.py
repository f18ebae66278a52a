"""Thresholds and integrity as JUnit XML, the form in which build servers show tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from slotfill.analyse.study import Study
from slotfill.analyse.thresholds import Check
from slotfill.escape import for_terminal
from slotfill.files import write_text


def write(file: Path, study: Study, checks: Sequence[Check]) -> None:
    """One test case a threshold and level, and one an integrity check and round of a level."""
    suites = Xml.Element("testsuites", name="slotfill")
    _suite(suites, "thresholds", [_threshold(check) for check in checks])
    _suite(
        suites,
        "integrity",
        [case for where, report in study.integrity.get("after", {}).items() for case in _integrity(where, report)],
    )
    Xml.indent(suites)
    # XML has no place for control characters, and a database's words may hold some.
    write_text(file, for_terminal(Xml.tostring(suites, encoding="unicode", xml_declaration=True)) + "\n")


def _suite(suites: Xml.Element, name: str, cases: Sequence[Xml.Element]) -> None:
    kinds = {kind: str(sum(case.find(kind) is not None for case in cases)) for kind in ("failure", "skipped")}
    counts = {"tests": str(len(cases)), "failures": kinds["failure"], "skipped": kinds["skipped"], "errors": "0"}
    Xml.SubElement(suites, "testsuite", {"name": name, **counts}).extend(cases)


def _threshold(check: Check) -> Xml.Element:
    case = Xml.Element("testcase", classname=f"thresholds.{check.label}", name=check.name)
    if check.verdict == "broken":
        Xml.SubElement(case, "failure", message=f"{check.name} is {check.value}, the limit is {check.limit}")
    elif check.verdict == "unknown":
        Xml.SubElement(case, "skipped", message="the sample does not carry this figure")
    return case


def _integrity(where: str, report: Mapping[str, Any]) -> list[Xml.Element]:
    cases = []
    for check in report.get("checks", []):
        case = Xml.Element("testcase", classname=f"integrity.{where}", name=str(check["name"]))
        match check.get("status"):
            case "violated":
                Xml.SubElement(case, "failure", message=f"{check.get('violations', '')} violations")
            case "passed" | None:
                pass
            case status:
                Xml.SubElement(case, "skipped", message=str(check.get("detail") or status))
        cases.append(case)
    return cases
