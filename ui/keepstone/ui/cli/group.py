"""The outermost command: takes `--json` from anywhere in the line, and turns errors into messages and exit codes.

Exit codes: 0 done, 1 an error that names its fix, 2 a wrong command line, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException

from keepstone.platform.errors import InvalidInput, KeepstoneError, StorageFull
from keepstone.ui.cli import output


class KeepstoneGroup(TyperGroup):
    """The command `keepstone`."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the line and exit."""
        del complete_var, standalone_mode
        own, literal = _split(list(sys.argv[1:] if args is None else args))
        output.mode.json = "--json" in own
        output.print_anything()
        line = [each for each in own if each != "--json"] + literal
        try:
            code = super().main(line, prog_name, None, not output.mode.json, windows_expand_args, **extra)
        except KeepstoneError as error:
            output.show_error(error)
            sys.exit(1)
        except OSError as error:
            output.show_error(worded(error))
            sys.exit(1)
        except UnicodeEncodeError:  # bytes on the line or typed in a chat that are not UTF-8
            output.show_error(InvalidInput("That is not UTF-8 text", fix="Set the terminal to UTF-8, and try again"))
            sys.exit(1)
        except TyperException as error:  # a wrong command line with --json; without it, Typer shows it
            shown = {"error": {"message": error.format_message(), "code": "usage", "fix": "Add --help"}}
            sys.stderr.write(json.dumps(shown, ensure_ascii=False) + "\n")
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)


def worded(error: OSError) -> KeepstoneError:
    """Return an error of the operating system as one that names a fix."""
    what = f"{error.strerror or type(error).__name__}: {error.filename}" if error.filename else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(what, fix="Free some space and try again; nothing stored was lost")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        fix = "Check who may write there, or set KEEPSTONE_HOME to a folder of your own"
        return KeepstoneError(what, fix=fix)
    return KeepstoneError(what, fix="Check that path and who may use it; `keepstone doctor` looks at what is needed")


def _split(args: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands before `--`, and the rest with it."""
    end = args.index("--") if "--" in args else len(args)
    return args[:end], args[end:]
