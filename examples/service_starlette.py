"""The same service without FastAPI: `uvicorn service_starlette:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from akool_async import AkoolClient, InvalidRequestError, TranslationRequest, open_batch, open_journal


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Open the batch with the service, and close it with it."""
    async with (
        AkoolClient() as client,
        open_journal("jobs.sqlite3") as journal,
        open_batch(client, journal=journal, download_to="out") as batch,
    ):
        app.state.batch = batch
        yield


async def order(request: Request) -> Response:
    """Accept an order, for `ja` or for `ja,fr`, and answer with its keys once it is in the journal."""
    asked = request.query_params
    try:
        wanted = TranslationRequest(url=asked.get("url", ""), targets=asked.get("language", ""))
        ticket = await request.app.state.batch.submit(wanted)
    except InvalidRequestError as error:
        return JSONResponse({"detail": str(error)}, 422)
    return JSONResponse({language: key for key, language in ticket.names}, 202)


async def result(request: Request) -> Response:
    """Say how an order ended, or that it is in progress."""
    key, language = request.path_params["key"], request.query_params.get("language", "")
    with anyio.move_on_after(1):
        try:
            outcome = await request.app.state.batch.outcome(key, language)
        except InvalidRequestError as error:
            return JSONResponse({"detail": str(error)}, 404)
        return JSONResponse({"state": type(outcome).__name__, "reason": outcome.reason})
    return JSONResponse({"state": "in progress", "reason": ""})


routes = [Route("/videos", order, methods=["POST"]), Route("/videos/{key}", result)]
app = Starlette(routes=routes, lifespan=lifespan)
