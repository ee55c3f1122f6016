"""What the store costs: `uv run python -m tests.bench.store` (about half a minute).

On SQLite and on a PostgreSQL of its own, both on this machine, with their time to make writes durable: the
median of saving a response of 8 KB with four input items, of appending a turn of four items, and of reading a
conversation of ten such turns, one operation after the other.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop

from guardproxy.settings import StoreSettings
from guardproxy.store import Store
from tests.postgresql import postgresql

TIMES = 1_000
BODY = json.dumps({"id": "resp_1", "text": "x" * 8_000})
ITEMS = [json.dumps({"type": "message", "role": "user", "content": "x" * 500})] * 4


async def median(operation: Callable[[int], Awaitable[object]]) -> float:
    """Milliseconds."""
    took = []
    for number in range(TIMES):
        began = time.perf_counter()
        await operation(number)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


async def measure(name: str, url: str) -> None:
    """Print a row."""
    store = Store(StoreSettings(url=url))
    await store.start()
    for _ in range(10):
        await store.append("t", "ten", ITEMS)
    save = await median(lambda number: store.save("t", f"resp_{number}", BODY, ITEMS))
    append = await median(lambda number: store.append("t", f"c{number}", ITEMS))
    history = await median(lambda _: store.history("t", "ten"))
    await store.aclose()
    print(f"{name:12} save {save:.2f} ms, append {append:.2f} ms, history {history:.2f} ms")


def main() -> None:
    """Measure both."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        with tempfile.TemporaryDirectory() as folder:
            runner.run(measure("SQLite", f"sqlite+aiosqlite:///{folder}/store.db"))
        with postgresql("fsync=on") as url:
            runner.run(measure("PostgreSQL", url))


if __name__ == "__main__":
    main()
