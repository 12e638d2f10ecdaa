"""A web service that answers 202 once an order is durable: `uvicorn service_fastapi:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import FastAPI, HTTPException

from akool_async import AkoolClient, InvalidRequestError, TranslationRequest, open_batch, open_journal


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the batch with the service, and close it with it."""
    async with (
        AkoolClient() as client,
        open_journal("jobs.sqlite3") as journal,  # a service whose journal is locked does not start
        open_batch(client, journal=journal, download_to="out") as batch,
    ):
        app.state.batch = batch
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/videos", status_code=202)
async def order(url: str, language: str) -> dict[str, str]:
    """Accept an order, for `ja` or for `ja,fr`, and answer with its keys once it is in the journal."""
    try:
        ticket = await app.state.batch.submit(TranslationRequest(url=url, targets=language))
    except InvalidRequestError as error:
        raise HTTPException(422, str(error)) from error
    return {language: key for key, language in ticket.names}


@app.get("/videos/{key}")
async def result(key: str, language: str) -> dict[str, str]:
    """Say how an order ended, or that it is in progress."""
    with anyio.move_on_after(1):
        try:
            outcome = await app.state.batch.outcome(key, language)
        except InvalidRequestError as error:
            raise HTTPException(404, str(error)) from error
        return {"state": type(outcome).__name__, "reason": outcome.reason}
    return {"state": "in progress", "reason": ""}
