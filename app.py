"""The page: `python app.py` opens it, `build_app()` lists its parts."""

import argparse
import gc
import os
import sys
import threading
from importlib import import_module

from sd.common import threads
from sd.ui.adapter import address
from sd.ui.hosting import zero_gpu
from sd.ui.hosting.space import settle_in_space

if zero_gpu.is_lent():
    import_module("spaces")  # before anything that imports torch
settle_in_space(os.environ)
NAMED = address.pop_names(os.environ)
gc.disable()  # gradio makes many objects that stay: looking for garbage took a fifth of this
with address.no_proxy():
    import gradio as gr

gc.enable()

from starlette.middleware import Middleware  # noqa: E402

from sd.cli.parser import Parser, one_line  # noqa: E402
from sd.common.validation import InputError  # noqa: E402
from sd.generation.registry import OpenModels  # noqa: E402
from sd.runs import default_home  # noqa: E402
from sd.ui import api, head  # noqa: E402
from sd.ui.adapter import event_queue, hosts, requests, scratch, unused_uploads  # noqa: E402
from sd.ui.adapter.first_script import ScriptFile  # noqa: E402
from sd.ui.adapter.page import Page  # noqa: E402
from sd.ui.adapter.preload import preload_tags  # noqa: E402
from sd.ui.components import theme  # noqa: E402
from sd.ui.components.widgets import label, label_keys  # noqa: E402
from sd.ui.denoise import tab as denoise  # noqa: E402
from sd.ui.denoise.job import StepCache, Worker  # noqa: E402
from sd.ui.hosting import expiry, logs, notice, turns  # noqa: E402
from sd.ui.hosting.admin import TOKEN_NAME  # noqa: E402
from sd.ui.hosting.door import Door  # noqa: E402
from sd.ui.hosting.modes import MODE_NAME, MODES, OWN, Mode, choose_mode  # noqa: E402
from sd.ui.hosting.visitors import Keys, Visitors, read_secret  # noqa: E402
from sd.ui.models import NetworkLock  # noqa: E402
from sd.ui.noise import tab as noise  # noqa: E402
from sd.ui.state import Shared, use  # noqa: E402
from sd.ui.surveys import Surveys  # noqa: E402
from sd.ui.texts import say, translations  # noqa: E402
from sd.ui.train import tab as train  # noqa: E402

LONGEST_UNSEEN = 3.0  # seconds until torch is imported though nobody has asked for the page
MOST_SESSIONS = 500  # whose state is kept, the latest used; gradio takes 46 KiB for each
STEP_BYTES = 32 * 2**20  # of the samplings that one of many visitors can branch from
KEEP_FILES = (3600, 86400)  # seconds: look every hour, delete pictures older than a day


def build_app(visitors: Visitors | None = None) -> Page:
    """Return the page: its head, one call per tab, and the named endpoints.

    visitors: who has a home of their own there; without them all share this machine's.
    """
    demo = Page(
        shared := visitors.nobody if visitors else Shared(home=default_home()),
        visitors,
        title=say("page_title", "en"),
        analytics_enabled=False,
        delete_cache=KEEP_FILES,
        fill_width=True,
    )
    with use(shared), demo:
        model = head.build(demo)
        with gr.Tabs(selected="denoise"):
            with gr.Tab(label("tab_train"), id="train", elem_id="tab-train"):
                train.build(demo, model)
            with gr.Tab(label("tab_noise"), id="noise", elem_id="tab-noise"):
                noise.build(demo, model)
            with gr.Tab(label("tab_denoise"), id="denoise", elem_id="tab-denoise"):
                denoise.build(demo, model)
        if visitors:
            notice.build(visitors.mode)
        api.build()
    return demo


def parse_flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the flags; what none tells is None."""
    parser = Parser(description=__doc__)
    about = f"address to listen on; else {address.HOST_NAME}, else {address.USUAL_HOST}"
    parser.add_argument("--host", help=about)
    about = f"else {address.PORT_NAME}, else the first free one from 7860"
    parser.add_argument("--port", help=about)
    about = f"for whom: {', '.join(MODES)}; else {MODE_NAME}, else own where only this machine"
    parser.add_argument("--mode", help=f"{about} reaches the page, and public elsewhere")
    return parser.parse_args(arguments)


def warm_up(sent: threading.Event) -> None:
    """Import what imports torch while the first visitor is still reading what was `sent`."""
    sent.wait(LONGEST_UNSEEN)
    for module in ("sd.diffusion.sampling", "sd.data.image_set", "sd.checkpoints.checkpoint"):
        import_module(module)


def main(arguments: list[str] | None = None) -> int:
    """Open the page and keep it open; return the exit status, 2 where it cannot be opened."""
    try:
        flags = parse_flags(arguments)
        where = address.check_address(flags.host, flags.port, NAMED)
        demo = open_page(where, choose_mode(flags.mode, where.host))
    except (InputError, OSError) as error:
        print(one_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    demo.block_thread()
    return 0


def open_page(where: address.Address, mode: Mode = OWN) -> Page:
    """Return the page, served at an address, for those whom a mode names."""
    gc.disable()
    threads.share_cores()
    visitors = receive_visitors(mode) if mode.has_visitors else None
    demo = build_app(visitors)
    demo.queue(api_open=False, max_size=event_queue.MOST)
    sent = threading.Event()
    with address.no_proxy():
        launch(demo, where, sent, visitors)
    if visitors and mode.has_token:
        print(f"For the class: {demo.local_url}?class={visitors.keys.token}", flush=True)
    if visitors and TOKEN_NAME not in os.environ:
        print(f"For the host alone: {demo.local_url}sd/host#{visitors.keys.admin}", flush=True)
    gc.freeze()  # what is there now stays, and is not looked through again
    gc.enable()
    threading.Thread(target=warm_up, args=[sent], daemon=True).start()
    scratch.watch()
    unused_uploads.watch(demo.upload_file_set)
    if visitors:
        logs.be_discreet()
        expiry.watch(visitors)
        turns.watch(visitors)
    return demo


def receive_visitors(mode: Mode) -> Visitors:
    """Return the visitors of a page: each has samplings of their own, and all share the machine."""
    home = default_home()
    keys = Keys(read_secret(home.ensure_writable()))
    kinds = (Worker, NetworkLock, OpenModels, Surveys)
    return Visitors(
        home.path, mode, keys, lambda: [StepCache(STEP_BYTES)], [kind() for kind in kinds]
    )


def launch(
    demo: Page, where: address.Address, sent: threading.Event, visitors: Visitors | None
) -> None:
    """Serve the page; `sent` is set when it was first sent to anybody."""
    door = [Middleware(Door, visitors)] if visitors else []
    script = ScriptFile(theme.script())
    demo.launch(
        server_name=where.server_name,
        server_port=where.port,
        theme=theme.theme(),
        css_paths=theme.CSS_FILES,
        js=theme.SCRIPT_FILE.read_text(encoding="utf-8"),
        i18n=gr.I18n(**translations(label_keys(demo))),
        show_error=True,
        max_file_size=requests.LARGEST_FILE,
        state_session_capacity=MOST_SESSIONS,
        footer_links=["api"],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        share=False,
        app_kwargs={
            "middleware": [
                hosts.middleware(where.host),
                *door,
                *demo.middleware(sent.set, preload_tags(demo) + script.tag),
            ],
            "routes": [script.route],
            "exception_handlers": requests.EXCEPTION_HANDLERS,
        },
        prevent_thread_lock=True,
    )


if __name__ == "__main__":
    sys.exit(main())
