"""The built book, a server for it, and a browser that goes nowhere else."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

from tests.helpers.wcag import AXE

ROOT = Path(__file__).parents[2]
OPTIONS = [
    "-W",
    "-n",
    "--keep-going",
]  # a failing cell and a broken link are warnings; warnings are errors
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]


def pytest_collection_modifyitems(items):
    """Put test_build.py first, for it takes the longest, and last what waits for its pages."""
    waiting = {item.path for item in items if "build" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path.name != "test_build.py", item.path in waiting))


@pytest.fixture(scope="session")
def build_options():
    return OPTIONS


@pytest.fixture(scope="session")
def build(request, tmp_path_factory):
    """The folder of pages, and what the build printed.

    Of several workers the first builds, and the others wait.
    """
    if given := request.config.getoption("--book"):
        return given.resolve(), "build succeeded."
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # the folder of all workers
    out = shared / "book"
    with FileLock(shared / "book.lock"):
        log = out / "log"
        if not log.is_file():
            out.mkdir()
            program = shutil.which("jupyter-book", path=Path(sys.executable).parent)
            # What the chapters execute does not count as tested.
            env = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith("COVERAGE_")
            }
            command = [program, "build", *OPTIONS, "--path-output", str(out), str(ROOT)]
            result = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
            )
            log.write_text(f"{result.returncode}\n{result.stdout}", encoding="utf-8")
        code, _, said = log.read_text(encoding="utf-8").partition("\n")
    assert code == "0", said
    return out / "_build" / "html", said


@pytest.fixture(scope="session")
def html(build):
    """The folder of pages."""
    return build[0]


@pytest.fixture(scope="session")
def axe(build):
    """axe-core's file; it is there if the build could bring it from npm."""
    return AXE


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def served(html):
    """The address at which the pages are served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser(do_without):
    """Chromium: the one that CHROMIUM names, or one that is installed."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if not found:
        do_without(
            "no Chromium here: install it (Debian: apt-get install chromium), or name one: "
            "CHROMIUM=/path/to/it"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def look(browser, html, served):
    """Open a page in the browser: ``with look("index", ...) as page``.

    What went wrong on it is kept in ``page.trouble``, a list.

    And it keeps which files of the book it asked for: ``page.files``.
    """

    @contextmanager
    def open_page(name, scheme="light", width=1300, start=served):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.trouble, page.files = [], set()

        def ask(route):
            address = route.request.url
            if not address.startswith(start):
                page.trouble.append(f"wants {address}")
                return route.abort()
            page.files.add(
                html / address.removeprefix(start).lstrip("/").split("?")[0].split("#")[0]
            )
            return route.continue_()

        def said(message):
            if message.type in ("error", "warning"):
                page.trouble.append(f"{message.type}: {message.text}")

        context.route("**/*", ask)
        page.on("console", said)
        page.on("pageerror", lambda error: page.trouble.append(f"error: {error}"))
        page.on("requestfailed", lambda request: page.trouble.append(f"not there: {request.url}"))
        page.on(
            "response",
            lambda r: page.trouble.append(f"{r.status}: {r.url}") if r.status >= 400 else None,
        )
        page.goto(f"{start}/{name}.html")
        yield page
        context.close()

    return open_page


@pytest.fixture(scope="session")
def start_lab():
    """``with start_lab(folder) as address`` runs JupyterLab there, on a copy of the chapters.

    It has nobody's settings.
    The address has a place for the page: ``address.format("lab/tree/03_matching.ipynb")``.
    """

    @contextmanager
    def start(folder):
        # What a reader saves there stays there.
        shutil.copytree(
            ROOT / "chapters",
            folder / "chapters",
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
        )
        settings = folder / "settings" / "@jupyterlab"
        for name, setting in {
            "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight exist too
            "apputils-extension/notification": {"fetchNews": "false"},
        }.items():
            file = settings / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(setting), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        token = "readers"
        program = shutil.which("jupyter-lab", path=Path(sys.executable).parent)
        options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
        options += [f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True"]
        options += [
            f"--LabApp.user_settings_dir={settings.parent}",
            f"--ServerApp.root_dir={folder / 'chapters'}",
        ]
        env = os.environ | {"HOME": str(folder), "PYTHONPATH": str(ROOT)}
        with (
            open(folder / "log", "w") as log,
            subprocess.Popen(
                [program, *options], env=env, stdout=log, stderr=subprocess.STDOUT
            ) as server,
        ):
            try:
                address = f"http://127.0.0.1:{port}/{{}}?token={token}&reset"
                wait_for(address.format("api"), server)
                yield address
            finally:
                server.terminate()
                try:
                    server.wait(20)
                except subprocess.TimeoutExpired:  # it waits for a kernel that never answers
                    server.kill()

    return start


def wait_for(address, server, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            return urllib.request.urlopen(address)
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"JupyterLab did not start within {seconds} s")
