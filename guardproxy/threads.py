"""Work that would hold up the event loop, and with it everybody else, goes to a thread."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from guardproxy.document import LARGE

P = ParamSpec("P")
T = TypeVar("T")


async def off_loop(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives; in a thread where its `size`, in characters or bytes, is over `LARGE`.

    Raises:
        Exception: what `work` raises.
    """
    if size > LARGE:
        return await asyncio.to_thread(work, *args, **kwargs)
    return work(*args, **kwargs)
