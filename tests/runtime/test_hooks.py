"""Calling what users hand in."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import trio

from maim_trio._runtime.hooks import call, split_errors, two_arguments


def plain(number: int) -> int:
    return number + 1


async def coroutine(number: int) -> int:
    await trio.lowlevel.checkpoint()
    return number + 1


class Callable:
    def __call__(self, number: int) -> int:
        return number + 1

    async def method(self, number: int) -> int:
        return number + 1


class AsyncCallable:
    async def __call__(self, number: int) -> int:
        return number + 1


class Awaitable:
    """Not a coroutine, but what `await` takes."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Any:
        yield from coroutine(0).__await__()
        return self._value


@pytest.mark.parametrize(
    "function",
    [
        plain,
        coroutine,
        Callable(),
        Callable().method,
        AsyncCallable(),
        functools.partial(plain),
        functools.partial(coroutine),
        lambda number: number + 1,
        lambda number: coroutine(number),
        lambda number: Awaitable(number + 1),
        lambda number: Awaitable(coroutine(number)),
        max,
    ],
)
async def test_every_form_of_callable_is_called_and_awaited(function: Any) -> None:
    argument = 1 if function is not max else [1, 2]
    assert await call(function, argument) == 2


async def test_a_plain_function_is_one_step_without_a_checkpoint() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await call(plain, 1) == 2


async def test_what_it_raises_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        await call(lambda: 1 / 0)


class TestTwoArguments:
    def test_a_callable_with_no_signature_is_taken_at_its_word(self) -> None:
        assert two_arguments(dict.get) is dict.get

    def test_a_method_and_defaults_are_understood(self) -> None:
        class Bot:
            def both(self, payload: Any, metadata: Any) -> Any:
                return payload, metadata

            def only(self, payload: Any) -> Any:
                return payload

            def defaulted(self, payload: Any, metadata: Any = None, *, colour: str = "red") -> Any:
                return payload, metadata, colour

        bot = Bot()
        assert two_arguments(bot.both)(1, 2) == (1, 2)
        assert two_arguments(bot.only)(1, 2) == 1
        assert two_arguments(bot.defaulted)(1, 2) == (1, 2, "red")

    def test_a_required_keyword_fits_neither_form(self) -> None:
        def handler(payload: Any, *, colour: str) -> Any:
            return payload, colour

        with pytest.raises(TypeError, match=r"handler.*colour.*fits neither"):
            two_arguments(handler)


class TestSplittingGroups:
    def test_errors_are_told_from_what_has_to_go_on(self) -> None:
        error, end = ValueError(), KeyboardInterrupt()
        errors, rest = split_errors(BaseExceptionGroup("", [error, BaseExceptionGroup("", [end])]))
        assert isinstance(errors, ExceptionGroup)
        assert errors.exceptions == (error,)
        assert isinstance(rest, BaseExceptionGroup)
        assert rest.exceptions[0].exceptions == (end,)

    def test_there_may_be_no_error_at_all(self) -> None:
        end = SystemExit()
        errors, rest = split_errors(BaseExceptionGroup("", [end]))
        assert errors is None
        assert isinstance(rest, BaseExceptionGroup)
        assert rest.exceptions == (end,)
