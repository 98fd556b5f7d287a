"""A service of asyncio whose requests are calls: tiles of a map of the Mandelbrot set.

The server (aiohttp) awaits a call for each tile that is asked for, all on the thread of its event loop. Browsers that
turn away before they have their tile cancel its call. Here they are simulated by a client in the same program, with
some tens of connections, a part of which leaves early.

Needs aiohttp, matplotlib and Pillow: ``pip install 'vinefast[demo,examples]'``. With ``--serve`` it goes on until
Ctrl-C, for a real browser.
"""

import asyncio
import contextlib
import io
import socket
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from aiohttp import ClientSession, TCPConnector, web
from PIL import Image
from rich.console import Console
from rich.table import Table

import vinefast

TILE = 256
PAGE = """<!doctype html><title>Mandelbrot</title><style>body{margin:0;line-height:0}</style>
<script>for (let y = 0; y < 4; y++) { for (let x = 0; x < 4; x++)
document.write(`<img src="/2/${x}/${y}.png">`); document.write("<br>"); }</script>"""


def tile(zoom, x, y, most):
    """Draw a tile; gives it as a PNG. This is the call."""
    import io

    import numpy as np
    from matplotlib import colormaps
    from PIL import Image

    step = 3.0 / 2**zoom / 256
    real = -2.25 + (x * 256 + np.arange(256) + 0.5) * step
    imaginary = 1.5 - (y * 256 + np.arange(256) + 0.5) * step
    c = real[None, :] + 1j * imaginary[:, None]
    z, counts, inside = np.zeros_like(c), np.zeros(c.shape, int), np.ones(c.shape, bool)
    for _ in range(most):
        z[inside] = z[inside] ** 2 + c[inside]
        inside &= np.abs(z) <= 2
        counts += inside
    shade = np.where(inside, 0.0, np.log1p(counts) / np.log1p(most))
    image = io.BytesIO()
    Image.fromarray((colormaps["magma"](shade)[..., :3] * 255).astype(np.uint8)).save(image, "PNG")
    return image.getvalue()


def application(executor, most):
    """Make the server."""

    async def page(request):
        return web.Response(text=PAGE, content_type="text/html")

    async def answer(request):
        zoom, x, y = (int(request.match_info[name]) for name in ("zoom", "x", "y"))
        if zoom > 20 or max(x, y) >= 2**zoom:
            raise web.HTTPNotFound(text="there is no such tile")
        # Whoever goes away has this task cancelled, and with it the call.
        png = await executor.submit(tile, None, zoom, x, y, most)
        return web.Response(body=png, content_type="image/png")

    made = web.Application()
    made.add_routes([web.get("/", page), web.get(r"/{zoom:\d+}/{x:\d+}/{y:\d+}.png", answer)])
    return made


async def start(app, port):
    """Let a server serve on this machine; gives what ends it, and its port."""
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", port))
    await web.SockSite(runner, listening).start()
    return runner.cleanup, listening.getsockname()[1]


async def visit(port, zoom, at_a_time, impatient):
    """Ask for all tiles of a zoom, and for some in vain; gives the tiles by place, and seconds per tile."""
    tiles, took_s = {}, []
    turn = asyncio.Semaphore(at_a_time)

    async with ClientSession(f"http://127.0.0.1:{port}", connector=TCPConnector(limit=0)) as session:

        async def ask(x, y):
            async with turn:
                began = time.perf_counter()
                async with session.get(f"/{zoom}/{x}/{y}.png") as response:
                    tiles[x, y] = await response.read()
                took_s.append(time.perf_counter() - began)

        async def leave(x):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(session.get(f"/20/{x}/0.png"), 0.05)

        side = range(2**zoom)
        await asyncio.gather(*(ask(x, y) for y in side for x in side), *(leave(x) for x in range(impatient)))
    return tiles, took_s


def whole(tiles, zoom):
    """Put tiles together."""
    side = 2**zoom
    picture = Image.new("RGB", (TILE * side, TILE * side))
    for (x, y), png in tiles.items():
        picture.paste(Image.open(io.BytesIO(png)), (TILE * x, TILE * y))
    return picture


async def serve(executor, most, port):
    """Serve until Ctrl-C."""
    stop, port = await start(application(executor, most), port)
    try:
        click.echo(f"http://127.0.0.1:{port}/, until Ctrl-C")
        await asyncio.Event().wait()
    finally:
        await stop()


async def measure(executor, most, zoom, at_a_time, impatient):
    """Serve a client that asks for a whole map; gives that, and what is to be told of it."""
    stop, port = await start(application(executor, most), 0)
    try:
        await visit(port, 0, 1, 0)  # the worker has come, and has imported what it needs
        before = executor.stats()
        began = time.perf_counter()
        tiles, took_s = await visit(port, zoom, at_a_time, impatient)
        seconds = time.perf_counter() - began
    finally:
        await stop()
    cancelled = executor.stats()["calls_cancelled"] - before["calls_cancelled"]
    middle, late = np.percentile(took_s, (50, 99))
    return whole(tiles, zoom), {
        "tiles": f"{len(tiles):,}",
        "requests at a time": f"{at_a_time}",
        "tiles per second": f"{len(tiles) / seconds:.0f}",
        "seconds per tile, median": f"{middle:.2f}",
        "seconds per tile, 99 of 100": f"{late:.2f}",
        "clients that left early": f"{impatient}",
        "calls that were cancelled": f"{cancelled}",
    }


@click.command()
@click.option("--zoom", default=4, show_default=True, type=click.IntRange(0, 6), help="4 to this power are the tiles.")
@click.option("--at-a-time", default=16, show_default=True, type=click.IntRange(1), help="Requests of the client.")
@click.option("--impatient", default=20, show_default=True, type=click.IntRange(0), help="Clients that leave early.")
@click.option("--iterations", default=300, show_default=True, type=click.IntRange(1), help="Of each point, at most.")
@click.option("--picture", default="service.png", show_default=True, type=click.Path(dir_okay=False))
@click.option("--quick", is_flag=True, help="16 tiles.")
@click.option("--serve", "serves", is_flag=True, help="Serve a browser, until Ctrl-C.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="For --serve; 0: any that is free.")
def main(zoom, at_a_time, impatient, iterations, picture, quick, serves, port):
    """Serve tiles of a map, each by a call."""
    zoom = 2 if quick else zoom
    picture = Path(picture)
    if not picture.resolve().parent.is_dir():
        raise click.BadParameter(f"there is no directory {picture.parent}", param_hint="--picture")
    executor = vinefast.VineFastExecutor(label="tiles")
    with tempfile.TemporaryDirectory(prefix="vinefast-service-") as directory:
        executor.run_dir = directory
        with executor:
            if serves:
                with contextlib.suppress(KeyboardInterrupt):
                    asyncio.run(serve(executor, iterations, port))
                return
            image, figures = asyncio.run(measure(executor, iterations, zoom, at_a_time, impatient))
    table = Table("", "", show_header=False)
    for name, value in figures.items():
        table.add_row(name, value)
    console = Console()
    console.print(table)
    image.thumbnail((1024, 1024))
    image.save(picture)
    console.print(f"Picture: {picture}", soft_wrap=True)


# No guard is needed: workers do not run this file.
main()
