"""asyncio and forkpoint: asynchronous hooks, asked from inside and from outside."""

import asyncio
import sys

import forkpoint


@forkpoint.before_checkpoint
async def before():
    await asyncio.sleep(0)
    print("before", flush=True)


@forkpoint.after_restore
async def after(context):
    await asyncio.sleep(0)
    print("after", context.generation, flush=True)


async def main():
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    ticker = asyncio.create_task(tick())
    try:
        forkpoint.checkpoint(sys.argv[1])
    except forkpoint.CheckpointError as error:
        print("refused", "checkpoint_async" in str(error), flush=True)
    outcome = await forkpoint.checkpoint_async(sys.argv[1])
    print(outcome.outcome, flush=True)
    while "end" not in forkpoint.args():
        await asyncio.sleep(0.005)
    before_wait = ticks
    await asyncio.sleep(0.1)
    print("ticks", 2 < ticks - before_wait < 60, flush=True)
    ticker.cancel()


asyncio.run(main())
