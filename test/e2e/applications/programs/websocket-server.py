# A WebSocket server that answers each message with its name and the message: ADDRESS PORT NAME.
import asyncio
import signal
import sys

import websockets


async def answer(socket, *_):
    async for message in socket:
        await socket.send(f"{sys.argv[3]} {message}")


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    async with websockets.serve(answer, sys.argv[1], int(sys.argv[2]), ping_interval=None):
        await stop


asyncio.run(main())
