"""The tool `calculator`: exact arithmetic and dates.

    evaluate("860 * 3 + 0.1 + 0.2")           -> Fraction(25803, 10)
    evaluate("2026-03-01 + 30 days")          -> date(2026, 3, 31)
    evaluate("2026-03-01 - 2025-12-24")       -> Days(67)

Python's parser reads the expression and a walk over a few kinds of nodes computes it; nothing is evaluated as code.
Numbers are fractions, so nothing is rounded, and bounded in size, so nothing takes long.
"""

from __future__ import annotations

import ast
import calendar
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Final

from pydantic import Field

from keepstone.agents.tools.base import DECODED, Observation, ToolContext, tool
from keepstone.platform.errors import InvalidInput

_MAX_DEPTH = 40
_MAX_BITS = 4096
_MAX_EXPONENT = 1000
_MAX_MAGNITUDE = 300
_DIGITS = 15
_HELP: Final = (
    "Write numbers, + - * / // % **, ( ), sqrt, abs, round, floor, ceil, min, max, sum, dates such as 2026-03-01, "
    "today, and 30 days, 2 weeks, 3 months or 1 year"
)


@dataclass(frozen=True, slots=True)
class Days:
    """A span of whole days."""

    count: int


@dataclass(frozen=True, slots=True)
class Months:
    """A span of calendar months; a year is twelve of them."""

    count: int


Value = Fraction | date | Days | Months


@tool
def calculator(
    _context: ToolContext, expression: Annotated[str, Field(min_length=1, max_length=500, json_schema_extra=DECODED)]
) -> Observation:
    """Compute exactly, with numbers and dates: 3 * 860, 15% of 80, 2026-03-01 + 30 days, sqrt(2)."""
    shown = worded(evaluate(expression))
    written = " ".join(expression.split())
    return Observation(f"{written} = {shown}", note=f"{written} = {shown}" if shown != written else "")


def evaluate(expression: str) -> Value:
    """Return the value of an expression.

    Raises:
        InvalidInput: it is none, or its value is too large or not defined.
    """
    text = _pythonic(expression)
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{expression[:80]!r} is no expression", fix=_HELP) from error
    try:
        return _Walk(text).value(tree.body, 0)
    except ZeroDivisionError as error:
        raise InvalidInput("Something is divided by zero", fix="Mend the expression") from error
    except ArithmeticError as error:
        raise InvalidInput("The result is out of range", fix="Use smaller numbers or nearer dates") from error


def worded(value: Value) -> str:
    """Return a value as people write it: exact where that is short, else rounded to 15 digits with a `≈`."""
    if isinstance(value, date):
        return f"{value.isoformat()} ({calendar.day_name[value.weekday()]})"
    if isinstance(value, Days):
        return f"{value.count} days"
    if isinstance(value, Months):
        return f"{value.count} months"
    if value.denominator == 1 and len(str(value.numerator)) <= 2 * _DIGITS:
        return str(value.numerator)
    exact = Context(prec=2 * _DIGITS).divide(Decimal(value.numerator), Decimal(value.denominator))
    if Fraction(exact) == value and len(exact.as_tuple().digits) <= _DIGITS:
        return f"{exact:f}" if -_DIGITS < exact.adjusted() < 2 * _DIGITS else f"{exact}"
    rounded = Context(prec=_DIGITS).divide(Decimal(value.numerator), Decimal(value.denominator)).normalize()
    near = f"{rounded:f}" if -_DIGITS < rounded.adjusted() < 2 * _DIGITS else f"{rounded}"
    return f"≈ {near}"


_REWRITES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile("[×·]"), "*"),
    (re.compile("[÷∕]"), "/"),
    (re.compile("[−–]"), "-"),
    (re.compile(r"\^"), "**"),
    (re.compile(r"[$€£¥]"), ""),
    (re.compile(r"\s*=?\s*\??\s*$"), ""),
    (re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b"), r"date('\1-\2-\3')"),
    (re.compile(r"\btoday\b(?!\s*\()"), "today()"),
    (re.compile(r"(\d+)\s*(day|week|month|year)s?\b"), r"\2s(\1)"),
    (re.compile(r"(\d)\s*%\s*of\b"), r"\1/100*"),
    (re.compile(r"(\d)\s*%(?=\s*(?:$|[-)+*/,]))"), r"\1/100"),
)
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)")


def _pythonic(expression: str) -> str:
    """Return what people write in Python's syntax: signs of all kinds, percents, dates, thousands."""
    text = " ".join(expression.split())
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    if "(" not in text:  # else a comma separates arguments
        text = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)
    return text


class _Walk:
    """Computes one expression."""

    def __init__(self, text: str) -> None:
        self._text = text

    def value(self, node: ast.expr, depth: int) -> Value:
        """Return the value of a node."""
        if depth > _MAX_DEPTH:
            raise InvalidInput("The expression is nested too deeply", fix="Compute it in parts")
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.UnaryOp):
            return _signed(node.op, self.value(node.operand, depth + 1))
        if isinstance(node, ast.BinOp):
            return _combined(node.op, self.value(node.left, depth + 1), self.value(node.right, depth + 1))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            if node.func.id == "date":
                return _date(node.args)
            return _called(node.func.id, [self.value(each, depth + 1) for each in node.args])
        if isinstance(node, ast.Name) and node.id in ("pi", "e"):
            return Fraction(math.pi if node.id == "pi" else math.e)
        raise _not_understood(ast.get_source_segment(self._text, node) or type(node).__name__)

    def _number(self, node: ast.Constant) -> Fraction:
        """Return a number exactly as it is written, not as the nearest float."""
        written = ast.get_source_segment(self._text, node) or ""
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise _not_understood(written)
        try:
            number = Decimal(written.replace("_", ""))
        except InvalidOperation:  # hexadecimal and the like
            raise _not_understood(written) from None
        if number and abs(number.adjusted()) > _MAX_MAGNITUDE:
            raise OverflowError
        return Fraction(number)


def _signed(sign: ast.unaryop, value: Value) -> Value:
    if isinstance(sign, ast.UAdd):
        return value
    if isinstance(sign, ast.USub) and not isinstance(value, date):
        return -value if isinstance(value, Fraction) else type(value)(-value.count)
    raise _not_understood("that sign")


_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda left, right: Fraction(left // right),
    ast.Mod: operator.mod,
}


def _combined(sign: ast.operator, left: Value, right: Value) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        if isinstance(sign, ast.Pow):
            return _power(left, right)
        if type(sign) in _ARITHMETIC:
            return _bounded(_ARITHMETIC[type(sign)](left, right))
    elif isinstance(sign, ast.Add | ast.Sub):
        return _moved(left, right, 1 if isinstance(sign, ast.Add) else -1)
    elif isinstance(sign, ast.Mult) and isinstance(left, Days | Months) and isinstance(right, Fraction):
        return type(left)(_whole(left.count * right))
    elif isinstance(sign, ast.Mult) and isinstance(right, Days | Months) and isinstance(left, Fraction):
        return type(right)(_whole(left * right.count))
    elif isinstance(sign, ast.Div) and isinstance(left, Days) and isinstance(right, Days):
        return Fraction(left.count, right.count)
    raise InvalidInput("These two cannot be combined like that", fix=_HELP)


def _moved(left: Value, right: Value, sign: int) -> Value:
    """Add dates and spans."""
    if isinstance(left, date) and isinstance(right, date) and sign < 0:
        return Days((left - right).days)
    if isinstance(right, date) and sign > 0:
        left, right = right, left
    if isinstance(left, date) and isinstance(right, Days | Fraction):
        days = right.count if isinstance(right, Days) else _whole(right)
        return left + timedelta(days=sign * days)
    if isinstance(left, date) and isinstance(right, Months):
        return _months_on(left, sign * right.count)
    if isinstance(left, Days) and isinstance(right, Days):
        return Days(left.count + sign * right.count)
    if isinstance(left, Months) and isinstance(right, Months):
        return Months(left.count + sign * right.count)
    raise InvalidInput("Dates and numbers do not add up like that", fix=_HELP)


def _months_on(day: date, months: int) -> date:
    """Return the same day some months on, or the last one of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if abs(exponent) > _MAX_EXPONENT:
        raise OverflowError
    if exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if bits * abs(exponent.numerator) > _MAX_BITS:
            raise OverflowError
        return Fraction(base**exponent.numerator)
    if exponent == Fraction(1, 2):
        return _root(base)
    if base < 0:
        raise InvalidInput("A negative number has no such root", fix="Mend the expression")
    rounded = Context(prec=2 * _DIGITS).power(_decimal(base), _decimal(exponent))
    if rounded and abs(rounded.adjusted()) > _MAX_MAGNITUDE:
        raise OverflowError
    return Fraction(rounded)


def _root(value: Fraction) -> Fraction:
    """Return the square root: exact where it is a fraction, else to 30 digits."""
    if value < 0:
        raise InvalidInput("A negative number has no square root", fix="Mend the expression")
    exact = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
    return exact if exact * exact == value else Fraction(_decimal(value).sqrt(Context(prec=2 * _DIGITS)))


def _decimal(value: Fraction) -> Decimal:
    return Context(prec=2 * _DIGITS).divide(Decimal(value.numerator), Decimal(value.denominator))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise OverflowError
    return value


def _date(arguments: list[ast.expr]) -> date:
    match arguments:
        case [ast.Constant(value=str() as written)]:
            try:
                return date.fromisoformat(written)
            except ValueError as error:
                raise InvalidInput(f"There is no day {written!r}", fix="Write dates as 2026-03-01") from error
    raise _not_understood("date")


def _round(value: Fraction, digits: Fraction = Fraction(0)) -> Fraction:
    if digits.denominator != 1 or abs(digits) > 2 * _DIGITS:
        raise InvalidInput("round takes a whole number of digits", fix="round(2.345, 2)")
    scale = Fraction(10) ** digits.numerator
    # Half away from zero, as people round.
    return Fraction(math.floor(abs(value) * scale + Fraction(1, 2)), scale) * (-1 if value < 0 else 1)


_FUNCTIONS: Final[dict[str, Callable[..., Value]]] = {
    "abs": abs,
    "ceil": lambda value: Fraction(math.ceil(value)),
    "floor": lambda value: Fraction(math.floor(value)),
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "round": _round,
    "sqrt": _root,
    "sum": lambda *values: _bounded(sum(values, Fraction(0))),
}
_SPANS: Final[dict[str, Callable[[int], Value]]] = {
    "days": Days,
    "weeks": lambda count: Days(7 * count),
    "months": Months,
    "years": lambda count: Months(12 * count),
}


def _called(name: str, arguments: list[Value]) -> Value:
    if name == "today" and not arguments:
        return datetime.now(UTC).date()
    if name in ("max", "min") and arguments and all(isinstance(each, date) for each in arguments):
        chosen: Value = _FUNCTIONS[name](*arguments)
        return chosen
    numbers = [each for each in arguments if isinstance(each, Fraction)]
    if not numbers or len(numbers) < len(arguments) or name not in {*_FUNCTIONS, *_SPANS}:
        raise _not_understood(name)
    if name in _SPANS:
        return _SPANS[name](_whole(numbers[0]))
    try:
        return _FUNCTIONS[name](*numbers)
    except TypeError:
        raise InvalidInput(f"{name} takes another number of arguments", fix=_HELP) from None


def _whole(value: Fraction) -> int:
    if value.denominator != 1 or abs(value) > 10_000_000:
        raise InvalidInput("Only whole numbers of days fit a date", fix="Round first")
    return value.numerator


def _not_understood(what: str) -> InvalidInput:
    return InvalidInput(f"{what[:80]!r} is not understood", fix=_HELP)
