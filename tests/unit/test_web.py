"""The files of the web page: complete, by themselves, and of one mind with the package."""

from __future__ import annotations

import glob
import re
from pathlib import Path

import pytest

WEB = Path(__file__).parent.parent.parent / "src" / "finewhisper" / "web"
FILES = sorted(path for path in WEB.rglob("*") if path.is_file())
HTML = (WEB / "index.html").read_text(encoding="utf-8")


def texts(*suffixes: str) -> dict[str, str]:
    return {str(path.relative_to(WEB)): path.read_text(encoding="utf-8") for path in FILES if path.suffix in suffixes}


def test_every_file_is_in_the_wheel():
    project = WEB.parent.parent.parent / "pyproject.toml"
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    patterns = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]["finewhisper"]
    shipped = {Path(found) for pattern in patterns for found in glob.glob(pattern, root_dir=WEB.parent, recursive=True)}  # noqa: PTH207 - as setuptools does
    assert {path.relative_to(WEB.parent) for path in FILES} <= shipped


def test_nothing_comes_from_other_hosts():
    """The only addresses are names of XML's vocabularies, which nobody fetches."""
    found = {
        address
        for text in texts(".html", ".css", ".js", ".svg").values()
        for address in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`]*", text)
    }
    assert found == {"http://www.w3.org/2000/svg"}


def test_nothing_is_inserted_as_markup_or_run_from_text():
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setHTML|createContextualFragment"
    assert {name: found for name, text in texts(".js").items() if (found := re.findall(sinks, text))} == {}


def test_the_document_has_no_script_or_style_of_its_own():
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", HTML) == []
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', HTML)
    assert policy
    assert "default-src 'self'" in policy[1]
    assert "unsafe" not in policy[1]


def test_no_module_imports_itself_through_others():
    statement = re.compile(r"(?:^import .* from |await import\()\"(\.[^\"]+)\"", re.MULTILINE)
    imports = {
        (WEB / name).resolve(): [((WEB / name).parent / target).resolve() for target in statement.findall(text)]
        for name, text in texts(".js").items()
    }

    def reached(module: Path, seen: set[Path]) -> set[Path]:
        for target in imports.get(module, []):
            if target not in seen:
                seen.add(target)
                reached(target, seen)
        return seen

    assert sum(map(len, imports.values())) > 30
    assert [str(module.relative_to(WEB)) for module in imports if module in reached(module, set())] == []


def test_every_file_that_is_named_exists():
    imported = {
        (WEB / name).parent / target
        for name, text in texts(".js").items()
        for target in re.findall(r"(?:from|import|import\()\s*\(?\"(\.[^\"]+)\"", text)
    }
    linked = {WEB / target for target in re.findall(r"(?:href|src)=\"([\w./-]+\.\w+)[\"#]", HTML)}
    assert imported
    assert {path.resolve() for path in imported | linked} <= set(FILES)


def test_every_icon_is_drawn():
    drawn = set(re.findall(r'<symbol id="(\w+)"', (WEB / "icons.svg").read_text(encoding="utf-8")))
    named = re.findall(r"icons\.svg#(\w+)", HTML) + re.findall(r"\b(?:icon|tool)\(\"(\w+)\"", "\n".join(texts(".js").values()))
    assert named
    assert set(named) - drawn == set()


def test_every_element_that_scripts_ask_for_is_in_the_document():
    asked = set(re.findall(r"byId\(\"([\w-]+)\"\)", "\n".join(texts(".js").values())))
    assert asked
    assert asked - set(re.findall(r'\bid="([\w-]+)"', HTML)) == set()
