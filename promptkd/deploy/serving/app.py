"""The addresses of the server: POST /predict, GET /classes, /healthz, /metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.requests import ClientDisconnect

from promptkd.deploy.serving.limits import RefusalError
from promptkd.deploy.serving.metrics import CONTENT_TYPE
from promptkd.deploy.serving.service import Service, running

log = logging.getLogger(__name__)

TOP = 5


def make_app(service: Service) -> FastAPI:
    """The app that answers for a service; it starts and stops it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(service):
            yield

    # FastAPI's pages of documentation load scripts from elsewhere
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/predict")
    async def predict(request: Request, top: int = TOP) -> Response:
        start = time.perf_counter()
        content_type, length = (request.headers.get(name, "") for name in ("content-type", "content-length"))
        try:
            top = min(top, len(service.classnames)) if top == TOP else top
            answer: Response = JSONResponse(await service.answer(content_type, length, request.stream(), top))
        except ClientDisconnect:
            answer = refusal(service, RefusalError(499, "gone", "the client has gone"))
        except RefusalError as error:
            answer = refusal(service, error)
        except Exception as error:
            log.warning("An image was not classified: %s", error)
            answer = refusal(service, RefusalError(500, "model", "the model failed on this image"))
        service.metrics.answers[answer.status_code] += 1
        service.metrics.seconds.add(time.perf_counter() - start)
        return answer

    @app.exception_handler(RequestValidationError)
    async def no_number(request: Request, error: RequestValidationError) -> Response:
        return refusal(service, RefusalError(400, "top", "top is a whole number"))

    @app.get("/classes")
    async def classes() -> dict[str, Any]:
        return {"classes": list(service.classnames)}

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok" if service.alive else "ended"}, 200 if service.alive else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(service.metrics_text(), media_type=CONTENT_TYPE)

    return app


def refusal(service: Service, error: RefusalError) -> Response:
    """The answer to a request that is refused: {"error": one line}."""
    service.metrics.refusals[error.reason] += 1
    headers = {"Retry-After": "1"} if error.status == 429 else {}
    if error.status == 408:
        headers["Connection"] = "close"
    return JSONResponse({"error": error.message}, error.status, headers)
