"""The rules as fixed: a digest of what judges, and every change since, with its reason and both verdicts.

A rule's digest is that of its file's thresholds, field names, statements, guard and verdict, and of what
these use in `claims`, `measurement` and `stats`. How a number is said is not part of it: docstrings,
comments, styles, and every string with a space or a full stop are left out. The convention that joins words
(`claims.statement`) is a rule of its own. FIXED.json holds the digests under a name; while that is "draft",
nothing is fixed. A rule that came later holds its own digest in its file, ``FIXED = "..."``.

    python -m darkmatter_utils.claims.fixed               what differs, as entries that lack their reason
    python -m darkmatter_utils.claims.fixed rules-1       fixes the draft under a name
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..base import provenance
from ..base.config import module_names, modules
from ..base.errors import BadInput
from ..base.provenance import Name
from ..base.values import write_atomic
from ..studies.study import FORMAT_TESTS
from . import report
from .claim import Question

FILE = Path(__file__).with_name("FIXED.json")
PREREGISTERED = Path(__file__).with_name("preregistered.yaml")
"""What the next study measures."""
DEPARTURES = Path(__file__).with_name("departures.yaml")
"""Where a study then departed from it."""
DRAFT = "draft"
ENTRY = ("rule", "from", "to", "reason", "before", "after")
"""Of one change: the rule's file, both digests, why, and the word by study under each."""
FILES = "[cq][0-9][0-9]_*"
CONVENTION = "statement"
"""The rule that all others share."""
ROOTS = ("Thresholds", "THRESHOLDS", "Evidence", "statements", "guard", "verdict", "CLAIM", "QUESTION")
JUDGE = ("statements", "guard", "verdict")
"""What judges of a CLAIM or a QUESTION; the rest of it is words."""
METHODS = ("judge", "judged", "word")
"""What judges of a class of the convention."""
SAYS = ("quantity", "noun", "style")
"""Of a Statement: how it is said."""
FOLLOWED = ("claims", "measurement", "stats")
SKIPPED = ("claims.say", "claims.statement")


def digest(rule: str, source: str | None = None) -> str:
    """The digest of a rule's file ("c04_flat", or "statement"); ``source``: what the file says, where that is
    not what is on disk."""
    home = Name(f"claims.{rule}")
    modules = {} if source is None else {home.module: _pruned(source, home.module)}
    read = lambda module: modules.get(module) or _read(module)
    waiting = [
        Name(home.module, name) for name in (read(home.module).defined if rule == CONVENTION else ROOTS)
    ]
    waiting += [Name("claims.claim", "Question")] * (rule == CONVENTION)
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if str(name) in found or name.name is None or not _counts(name, home):
            continue
        module = read(name.module)
        if name.name in module.defined:
            found[str(name)] = provenance.digest(
                "".join(s.digest for s in module.defined[name.name]).encode()
            )
            waiting += [other for one in module.defined[name.name] for other in one.uses]
        elif name.name in module.imported:
            waiting.append(module.imported[name.name])
    return provenance.key(found)


def rules() -> dict[str, str]:
    """The digest of every rule as it stands, by its file."""
    return {rule: digest(rule) for rule in [CONVENTION, *module_names(__package__, FILES)]}


def overall(found: Mapping[str, str]) -> str:
    """One digest of all rules."""
    return provenance.digest(json.dumps(dict(sorted(found.items()))).encode())


def fixed(path: Path = FILE) -> dict[str, Any]:
    """What FIXED.json holds: name, all (the overall digest), rules (digest by file), changes."""
    return json.loads(path.read_text(encoding="utf-8"))


def later(path: Path = FILE) -> list[dict]:
    """The rules that came after the others were fixed, as entries: of each the digest that its file holds and
    when it was written."""
    there = [module for module in modules(__package__, FILES) if hasattr(module, "FIXED")]
    named = {module.__name__.rpartition(".")[2]: module for module in there}
    return [
        {"rule": rule, "from": None, "to": module.FIXED, "reason": _asked(module).written}
        for rule, module in named.items()
        if rule not in fixed(path)["rules"]
    ]


def changed(
    held: Mapping[str, Any] | None = None, now: Mapping[str, str] | None = None, *, more: Iterable[dict] = ()
) -> list[dict]:
    """Every rule that differs from what is fixed without an entry that says so: rule, from, to (None where it
    came or went); ``more``: the rules that came `later`. Raises BadInput where an entry lacks a field or does
    not go on from the one before it."""
    held, now = fixed() if held is None else held, rules() if now is None else now
    if held["name"] == DRAFT:
        return []
    known = dict(held["rules"]) | {entry["rule"]: entry["to"] for entry in more}
    for entry in held["changes"]:
        if set(entry) != set(ENTRY) or not all(entry[name] for name in ENTRY if name != "from"):
            raise BadInput(f"a change in {FILE.name} lacks a field; it needs: {', '.join(ENTRY)}")
        if known.get(entry["rule"]) != entry["from"]:
            raise BadInput(f"{FILE.name}: a change of {entry['rule']} does not start where it stood")
        known[entry["rule"]] = entry["to"]
    differ = [rule for rule in sorted(known | dict(now)) if known.get(rule) != now.get(rule)]
    return [{"rule": rule, "from": known.get(rule), "to": now.get(rule)} for rule in differ]


def entries(book: Path) -> list[dict]:
    """What differs, as entries that lack their reason: the word of a claim by published study as its record
    has it and as the rule says now; of another rule, by study how many claims have each word."""
    told: list[dict] = []
    for one in changed(more=later()):
        before, after = {}, {}
        for folder in sorted(path for path in (book / "records").glob("*") if path.name not in FORMAT_TESTS):
            paths = {int(path.stem): path for path in sorted(folder.glob("[0-9][0-9].json"))}
            records = {n: json.loads(path.read_text(encoding="utf-8"))["values"] for n, path in paths.items()}
            for words, found in ((before, report.recorded(records)), (after, report.findings(records))):
                number = int(one["rule"][1:3]) if one["rule"][0] == "c" else 0
                if number in found or not number:
                    words[folder.name] = found[number].verdict.word if number else report.tally(found)
        told.append(one | {"reason": "", "before": before, "after": after})
    return told


def fix(name: str, path: Path = FILE) -> None:
    """Fix the rules as they stand under a name: `DRAFT`, which fixes nothing, or rules-1, rules-2 and so on.
    Raises BadInput for another name and where they are fixed already."""
    if not re.fullmatch(rf"{DRAFT}|rules-\d+", name):
        raise BadInput(f"'{name}' is no name for the rules; valid: {DRAFT}, rules-1, rules-2, ...")
    if path.exists() and (held := fixed(path))["name"] != DRAFT:
        how = f"say each change under 'changes' of {path.name}"
        raise BadInput(f"the rules are fixed as '{held['name']}'; {how}")
    now = rules()
    told = {"name": name, "all": overall(now), "rules": now, "changes": []}
    write_atomic(path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def preregistered() -> dict[str, Any]:
    """What the next study measures, fixed before it is: ``study``, and by claim what is primary for it."""
    return yaml.safe_load(PREREGISTERED.read_text(encoding="utf-8"))


def departures(study: str) -> list[dict[str, str]]:
    """Where what a study measured departs from what was `preregistered`: of what, planned, measured, why, and
    what had been seen of it by then."""
    found = yaml.safe_load(DEPARTURES.read_text(encoding="utf-8"))
    return [
        {name: said for name, said in one.items() if name != "study"}
        for one in found
        if one["study"] == study
    ]


def _asked(module) -> Question:
    return getattr(module, "CLAIM", None) or module.QUESTION


def _counts(name: Name, home: Name) -> bool:
    if name.module == home.module:
        return True
    if name.module == "claims.claim" and str(name.name)[0].isupper() and not str(name.name).isupper():
        return home.module == f"claims.{CONVENTION}"  # its classes
    return name.module.partition(".")[0] in FOLLOWED and name.module not in SKIPPED


@cache
def _read(module: str) -> provenance.Module:
    return _pruned(provenance.path_of(module).read_text(encoding="utf-8"), module)


def _pruned(source: str, module: str) -> provenance.Module:
    return provenance.parsed(_Judging().visit(ast.parse(source)), module, package=module.rpartition(".")[0])


class _Judging(ast.NodeTransformer):
    """Leaves what judges."""

    def visit_ClassDef(self, node):
        if node.name == "Evidence":
            node.body = [ast.Expr(f.target) for f in node.body if isinstance(f, ast.AnnAssign)] or [
                ast.Pass()
            ]
            return node
        if node.name in ("Statement", "Judged", "Question"):
            kept = lambda f: f.name in METHODS if isinstance(f, ast.FunctionDef) else node.name != "Question"
            node.body = [f for f in node.body if kept(f)]
        return self.generic_visit(node)

    def visit_Call(self, node):
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in ("Claim", "Question"):
            node.keywords = [k for k in node.keywords if k.arg in JUDGE]
        if called == "Statement":
            node.keywords = [k for k in node.keywords if k.arg not in SAYS]
        return self.generic_visit(node)

    def visit_Constant(self, node):
        text = node.value if isinstance(node.value, str) else ""
        return ast.Constant("") if " " in text or text.endswith((".", "!", "?", ":")) else node

    def visit_JoinedStr(self, node):
        parts = [self.visit(part) for part in node.values if isinstance(part, ast.Constant)]
        return ast.Constant("") if any(not part.value for part in parts) else self.generic_visit(node)


if __name__ == "__main__":
    try:
        print(json.dumps(entries(Path("book")), indent=1, ensure_ascii=False)) if len(sys.argv) < 2 else fix(
            sys.argv[1]
        )
    except BadInput as error:
        print(f"darkmatter: {error}", file=sys.stderr)
        sys.exit(2)
