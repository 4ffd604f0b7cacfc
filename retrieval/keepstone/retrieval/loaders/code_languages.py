"""What begins a definition, by language: enough to cut source code where its author would.

Patterns are matched against single lines, as LangChain's splitters and editors' outlines do it: code that is damaged,
cut short or of a newer version of its language has an outline too, and no line takes long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final


@dataclass(frozen=True, slots=True)
class Language:
    """A language, as far as its outline goes. The group `title` of a pattern is the section's heading."""

    fence: str
    """Name in a Markdown fence."""
    top: re.Pattern[str] | None = None
    """A line at the left margin that begins a section."""
    holder: re.Pattern[str] | None = None
    """The titles of sections that are cut into their members."""
    member: re.Pattern[str] | None = None
    """A line within such a section, behind its indentation, that begins a member."""


def language_of(name: str, first_line: str = "") -> Language | None:
    """Return the language of a file by its name, or else by the program that its first line names."""
    path = PurePath(name.replace("\\", "/"))
    found = _BY_ENDING.get(path.suffix.lower()) or _BY_NAME.get(path.name.lower())
    if found is None and not path.suffix:
        shebang = _SHEBANG.match(first_line)
        found = _BY_PROGRAM.get(shebang[1]) if shebang else None
    return found


def _lines(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    return re.compile(pattern, flags | re.VERBOSE)


_HOLDERS = _lines(
    r"(?:\w+[ ])*(?:class|interface|impl|struct|trait|object|module|namespace|record|enum|protocol|extension)\b"
)
_NO_MEMBERS = r"(?!(?:if|for|foreach|while|switch|catch|return|new|else|throw|do|try|case|await|using|lock|when)\b)"

_PYTHON_DEFINITION = r"(?P<title>(?:async\s+def|def|class)\s+\w+)"
_PYTHON = Language("python", _lines(_PYTHON_DEFINITION), _HOLDERS, _lines(_PYTHON_DEFINITION))

_SCRIPT_TOP = _lines(r"""
    (?:export\s+)?(?:default\s+)?(?:declare\s+)?(?P<title>
      (?:abstract\s+)?class\s+[\w$]+ | (?:async\s+)?function\b\s*\*?\s*[\w$]* | interface\s+[\w$]+ | namespace\s+[\w.$]+
    | (?:const\s+)?enum\s+[\w$]+ | type\s+[\w$]+(?=\s*[<=])
    | (?:const|let|var)\s+[\w$]+(?=\s*(?::[^=]{0,80})?=\s*(?:async\s*)?(?:function\b|class\b|\(|[\w$]+\s*=>))
    )""")
_SCRIPT_MEMBER = _lines(
    _NO_MEMBERS
    + r"(?:(?:public|private|protected|static|async|readonly|override|abstract|get|set)\s+)*"
    + r"(?P<title>[#\w$]+)\s*[(<][^;]*$"
)
_JAVASCRIPT = Language("javascript", _SCRIPT_TOP, _HOLDERS, _SCRIPT_MEMBER)
_TYPESCRIPT = Language("typescript", _SCRIPT_TOP, _HOLDERS, _SCRIPT_MEMBER)

_MODIFIERS = r"""(?:(?:public|private|protected|internal|fileprivate|static|final|abstract|sealed|open|data|partial
    |case|implicit|inline|suspend|override|readonly|unsafe|async|virtual|export|annotation|value|mutating)\s+)*"""
_TYPE = r"""(?:class|interface|enum\s+class|enum|record|struct|trait|object|namespace|@interface|extension|protocol)
    \s+[\w.$]+"""
_FUNCTION = r"(?:fun|func|function|def)\s+[\w.$`]+"
_CURLY_TOP = _lines(rf"{_MODIFIERS}(?P<title>{_TYPE}|{_FUNCTION})")
# The alternatives: a type or function that says so, or "int size(" with the words of a type before the name.
_CURLY_MEMBER = _lines(
    rf"{_NO_MEMBERS}{_MODIFIERS}(?P<title>{_TYPE}|{_FUNCTION}|(?:[\w<>\[\],.?@]+\s+)*\w+(?=\s*\([^;]*$))"
)


def _curly(fence: str) -> Language:
    return Language(fence, _CURLY_TOP, _HOLDERS, _CURLY_MEMBER)


_C_TOP = _lines(r"""
    (?!(?:if|for|while|switch|return|else|do|case|typedef|extern|using)\b)
    (?P<title>
      (?:class|struct|union|enum\s+class|enum|namespace)\s+\w+(?=[^;()]*$)
    | [A-Za-z_][^;=#"'/]*?\b~?\w+(?=\s*\([^;]*$)
    )""")
_GO = Language("go", _lines(r"(?P<title>func\s+(?:\([^)]*\)\s*)?\w+|type\s+\w+)"))
_RUST_ITEM = r"""(?:pub(?:\([^)]*\))?\s+)?(?:(?:default|unsafe|async|const|extern(?:\s+"[^"]*")?)\s+)*"""
_RUST = Language(
    "rust",
    _lines(_RUST_ITEM + r"(?P<title>(?:fn|struct|enum|trait|union|mod|macro_rules!)\s+\w+|impl\b[^{]*)"),
    _HOLDERS,
    _lines(_RUST_ITEM + r"(?P<title>fn\s+\w+)"),
)
_RUBY = Language(
    "ruby",
    _lines(r"(?P<title>(?:class|module|def)\s+[\w.:?!]+)"),
    _HOLDERS,
    _lines(r"(?P<title>(?:class|def)\s+[\w.?!]+)"),
)
_SHELL = Language("sh", _lines(r"(?P<title>function\s+[\w:.-]+|[\w:.-]+(?=\s*\(\)))"))
_SQL = Language(
    "sql",
    _lines(
        r"""(?P<title>(?:create|alter)\s+(?:or\s+replace\s+)?(?:\w+\s+){0,3}?
        (?:table|view|function|procedure|trigger|index|type|schema|sequence)\s+(?:if\s+not\s+exists\s+)?[\w."`\[\]]+)""",
        re.IGNORECASE,
    ),
)
_KEY = _lines(r"""(?P<title>[\w./"'@$-][\w ./"'@$-]{0,80}?)\s*:(?:\s|$)""")
_YAML = Language("yaml", _KEY, _lines(r"."), _KEY)
_TABLES = _lines(r"\[{1,2}(?P<title>[^\]]+)\]")
_BLOCKS = _lines(r"(?P<title>[a-z_]\w*(?:\s+[\w\".-]+){0,3})\s*\{")
_LUA = Language("lua", _lines(r"(?:local\s+)?(?P<title>function\s+[\w.:]+)"))
_PERL = Language("perl", _lines(r"(?P<title>(?:sub|package)\s+[\w:]+)"))
_R = Language("r", _lines(r"(?P<title>[\w.]+)\s*(?:<-|=)\s*function\b"))
_POWERSHELL = Language("powershell", _lines(r"(?P<title>(?:function|filter|class)\s+[\w:-]+)", re.IGNORECASE))
_PROTO = Language("protobuf", _lines(r"(?P<title>(?:message|service|enum)\s+\w+)"))
_GRAPHQL = Language("graphql", _lines(r"(?P<title>(?:extend\s+)?(?:type|input|enum|interface|union|scalar)\s+\w+)"))
_MAKE = Language("makefile", _lines(r"(?P<title>[\w./%$(){}-]+(?:\s+[\w./%$(){}-]+){0,4})\s*:(?!=)"))

_BY_ENDING: Final = {
    ".py": _PYTHON, ".pyi": _PYTHON, ".pyw": _PYTHON,
    ".js": _JAVASCRIPT, ".mjs": _JAVASCRIPT, ".cjs": _JAVASCRIPT, ".jsx": _JAVASCRIPT,
    ".ts": _TYPESCRIPT, ".mts": _TYPESCRIPT, ".cts": _TYPESCRIPT, ".tsx": _TYPESCRIPT,
    ".java": _curly("java"), ".kt": _curly("kotlin"), ".kts": _curly("kotlin"), ".scala": _curly("scala"),
    ".swift": _curly("swift"), ".cs": _curly("csharp"), ".php": _curly("php"), ".dart": _curly("dart"),
    ".c": Language("c", _C_TOP), ".h": Language("c", _C_TOP),
    ".cc": Language("cpp", _C_TOP), ".cpp": Language("cpp", _C_TOP), ".cxx": Language("cpp", _C_TOP),
    ".hh": Language("cpp", _C_TOP), ".hpp": Language("cpp", _C_TOP), ".hxx": Language("cpp", _C_TOP),
    ".go": _GO, ".rs": _RUST, ".rb": _RUBY, ".lua": _LUA, ".pl": _PERL, ".pm": _PERL, ".r": _R,
    ".sh": _SHELL, ".bash": _SHELL, ".zsh": _SHELL, ".ps1": _POWERSHELL, ".sql": _SQL,
    ".yaml": _YAML, ".yml": _YAML, ".toml": Language("toml", _TABLES),
    ".ini": Language("ini", _TABLES), ".cfg": Language("ini", _TABLES), ".conf": Language("ini", _TABLES),
    ".proto": _PROTO, ".graphql": _GRAPHQL, ".tf": Language("hcl", _BLOCKS), ".hcl": Language("hcl", _BLOCKS),
    ".mk": _MAKE, ".css": Language("css"), ".scss": Language("scss"), ".cmake": Language("cmake"),
}  # fmt: skip
_BY_NAME: Final = {
    "makefile": _MAKE, "gnumakefile": _MAKE, "dockerfile": Language("dockerfile"),
    "containerfile": Language("dockerfile"), "cmakelists.txt": Language("cmake"), "rakefile": _RUBY, "gemfile": _RUBY,
}  # fmt: skip
_SHEBANG = re.compile(r"#![ \t]*\S*?/(?:env[ \t]+(?:-S[ \t]+)?)?([a-z]+)[\d.]*(?:\s|$)")
_BY_PROGRAM: Final = {
    "python": _PYTHON, "sh": _SHELL, "bash": _SHELL, "zsh": _SHELL, "dash": _SHELL, "node": _JAVASCRIPT, "ruby": _RUBY,
    "perl": _PERL, "lua": _LUA,
}  # fmt: skip
