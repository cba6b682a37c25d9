"""The web app that teams write around LanceDB: the peer that lancegate is measured against.

MODE=tutorial  as tutorials write it: a blocking search inside an async handler,
               the table opened for every request, the answer checked by pydantic
MODE=tuned     what a careful team makes of it: LanceDB's async API, tables
               opened once, only the columns that are answered, no checking

Environment: REPLICAS (directories, comma-separated), TABLE, MODE, NPROBES and
REFINE_FACTOR (0 or unset: LanceDB's default), READY_DIR (see run.sh).
"""

import itertools
import os
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import lancedb
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

REPLICAS = os.environ["REPLICAS"].split(",")
TABLE = os.environ["TABLE"]
TUNED = {"tutorial": False, "tuned": True}[os.environ["MODE"]]
NPROBES = int(os.environ.get("NPROBES") or 0)
REFINE_FACTOR = int(os.environ.get("REFINE_FACTOR") or 0)


class Query(BaseModel):
    vector: list[float]
    limit: int = 10


class Hit(BaseModel):
    id: int
    title: str
    distance: float


class Answer(BaseModel):
    results: list[Hit]


def with_options(search):
    """The same index options for both modes, so that recall can be compared."""
    if NPROBES:
        search = search.nprobes(NPROBES)
    if REFINE_FACTOR:
        search = search.refine_factor(REFINE_FACTOR)
    return search


def as_hits(rows):
    return {
        "results": [
            {"id": row["id"], "title": row["title"], "distance": row["_distance"]} for row in rows
        ]
    }


class RoundRobin:
    """The list of replica connections that every such app has: the next one, please."""

    def __init__(self, uris):
        self.connections = [lancedb.connect(uri) for uri in uris]
        self.turn = 0

    def next(self):
        connection = self.connections[self.turn % len(self.connections)]
        self.turn += 1
        return connection


def exit_with_parent():
    """A worker whose supervisor was killed goes too, or the port would stay taken."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


@asynccontextmanager
async def lifespan(app: FastAPI):
    threading.Thread(target=exit_with_parent, daemon=True).start()
    if TUNED:
        connections = [await lancedb.connect_async(uri) for uri in REPLICAS]
        app.state.tables = itertools.cycle([await c.open_table(TABLE) for c in connections])
    else:
        app.state.replicas = RoundRobin(REPLICAS)
        app.state.replicas.connections[0].open_table(TABLE)  # fail at the start, not per request
    if ready_dir := os.environ.get("READY_DIR"):
        Path(ready_dir, str(os.getpid())).touch()
    yield


app = FastAPI(lifespan=lifespan)


async def search_tutorial(query: Query):
    try:
        table = app.state.replicas.next().open_table(TABLE)
        rows = with_options(table.search(query.vector)).limit(query.limit).to_list()
    except Exception as error:
        raise HTTPException(status_code=500, detail=str(error)) from error
    return as_hits(rows)


async def search_tuned(query: Query):
    table = next(app.state.tables)
    search = with_options(table.query().nearest_to(query.vector)).limit(query.limit)
    found = await search.select(["id", "title", "_distance"]).to_arrow()
    return as_hits(found.to_pylist())


if TUNED:
    app.post("/search", response_model=None)(search_tuned)
else:
    app.post("/search", response_model=Answer)(search_tutorial)


@app.get("/health")
async def health():
    return {"ok": True}
