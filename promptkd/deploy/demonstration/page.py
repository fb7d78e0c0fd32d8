"""The demo's page, made of Gradio's parts, and the app that answers for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before it is imported, which asks for its newest version

import gradio as gr  # noqa: E402
from fastapi import FastAPI, Request, Response  # noqa: E402
from gradio.utils import get_upload_folder  # noqa: E402
from starlette.middleware.base import RequestResponseEndpoint  # noqa: E402

from promptkd.deploy.demonstration.answers import TOP, Answers  # noqa: E402
from promptkd.deploy.demonstration.gate import Gate  # noqa: E402
from promptkd.deploy.serving.limits import RefusalError  # noqa: E402

NONE = "**None of these**: the likeliest class is less likely than the run's threshold asks."
FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")  # of the machine: Gradio's come from Google
STYLE = """
footer { display: none !important; }
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
#title h1 { margin-bottom: 0; }
#why iframe { width: 100%; height: 640px; border: 1px solid var(--border-color-primary); border-radius: 8px; }
"""
# The browser asks nobody but this server, whatever Gradio's page would ask.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; connect-src 'self' blob: data:; "
    "frame-ancestors 'self'; form-action 'self'"
)


def make_blocks(answers: Answers, title: str) -> gr.Blocks:
    """The page: an image, its likeliest classes, and the list of classes."""

    def classify(path: str | None, names: Sequence[str]) -> tuple[dict[str, float] | None, str]:
        if not path:
            return None, ""
        try:
            answer = answers.top(path, names)
        except (RefusalError, OSError, ValueError) as error:
            return None, f"Not classified: {error}"
        return dict(answer.top), NONE if answer.rejected else ""

    def explain(path: str | None, names: Sequence[str]) -> str:
        if not path:
            return "Drop an image first."
        try:
            page = answers.explanation(path, names)
        except (RefusalError, OSError, ValueError) as error:
            return escape(f"Not explained: {error}")
        return f'<iframe sandbox title="Where it looked" srcdoc="{escape(page)}"></iframe>'

    def classify_anew(path: str | None, names: Sequence[str]) -> tuple[Any, ...]:
        return *classify(path, names), ""  # the explanation was of another image

    def choose(text: str, names: list[str], path: str | None) -> tuple[list[str], dict[str, float] | None, str]:
        try:
            names = list(answers.check(text.splitlines()))
        except (OSError, ValueError, RuntimeError) as error:
            return names, classify(path, names)[0], f"The classes stay as they were: {error}"
        answer, message = classify(path, names)
        return names, answer, message or f"{len(names)} classes"

    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as blocks:
        names = gr.State(list(answers.classnames))
        gr.Markdown(f"# {title}", elem_id="title")
        with gr.Row():
            with gr.Column(min_width=280):
                image = gr.Image(
                    label="Image: drop it here, paste it, or choose a file",
                    type="filepath",
                    image_mode=None,  # as it is: it is decoded by what classifies it
                    sources=["upload", "clipboard"],
                    height=340,
                    buttons=[],
                    elem_id="image",
                )
            with gr.Column(min_width=280):
                label = gr.Label(label="Likeliest classes", num_top_classes=TOP, elem_id="answer")
                message = gr.Markdown("", elem_id="message")
                why = gr.Button("Where did it look?", elem_id="explain", visible=answers.can_explain)
        maps = gr.HTML("", elem_id="why")
        with gr.Accordion("Classes: one a line; take some away, or add others", open=False, elem_id="editing"):
            text = gr.Textbox("\n".join(answers.classnames), lines=8, max_lines=20, show_label=False, elem_id="classes")
            button = gr.Button("Choose among these", elem_id="choose")
        image.change(classify_anew, [image, names], [label, message, maps], show_progress="hidden")
        why.click(explain, [image, names], maps, show_progress="minimal")
        button.click(choose, [text, names, image], [names, label, message], show_progress="hidden")
    return blocks


def make_app(answers: Answers, title: str) -> FastAPI:
    """The app: Gradio's page under a policy that lets the browser ask this server alone."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def add_policy(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    mounted: FastAPI = gr.mount_gradio_app(
        app,
        make_blocks(answers, title),
        path="/",
        footer_links=[],
        show_error=True,
        max_file_size=answers.limits.size,
        ssr_mode=False,
        enable_monitoring=False,
        theme=gr.themes.Base(font=FONT, font_mono=("ui-monospace", "monospace")),
        css=STYLE,
    )
    mounted.add_middleware(Gate, uploads=get_upload_folder())
    return mounted
