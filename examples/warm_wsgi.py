"""
A server in the way of gunicorn: a master loads and warms a WSGI application and forks workers, which answer on one socket. The workers
are copies of the warm application, its threads and connections between them included, which os.fork would lose; one that dies is replaced.

    forkpoint run -- python3 examples/warm_wsgi.py 3 [MODULE:CALLABLE]

The port is that of $PORT, or a free one. TERM ends all of it.
"""

import importlib
import os
import random
import signal
import sys
import threading
import time
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.util import setup_testing_defaults

import forkpoint

WARM_UP_REQUESTS = 50


class Beat(threading.Thread):
    """A thread that has to live in every worker."""

    def __init__(self):
        super().__init__(daemon=True)
        self.count = 0

    def run(self):
        while True:
            self.count += 1
            time.sleep(0.01)


beat = Beat()


def application(environ, start_response):
    before = beat.count
    deadline = time.monotonic() + 5
    while beat.count == before and time.monotonic() < deadline:
        time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain")])
    who = forkpoint.context().id
    return [f"{who} {os.getpid()} beats {beat.count > before} {random.random()}\n".encode()]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def warm(app):
    for _ in range(WARM_UP_REQUESTS):
        environ = {}
        setup_testing_defaults(environ)
        for _chunk in app(environ, lambda *_: None):
            pass


def work(server):
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    raise SystemExit(0)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    module, _, name = (sys.argv[2] if len(sys.argv) > 2 else "").partition(":")
    app = getattr(importlib.import_module(module), name or "application") if module else application
    server = Server(("127.0.0.1", int(os.environ.get("PORT", "0"))), Quiet)
    server.set_app(app)
    beat.start()
    warm(app)
    workers = []
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    while not stopping:
        missing = count - len(workers)
        if missing > 0:
            forked = forkpoint.fork(missing)
            if forked.is_child:
                work(server)
            workers += forked.children
            print(f"{len(workers)} warm workers at http://127.0.0.1:{server.server_port}", flush=True)
        time.sleep(0.05)
        workers = [worker for worker in workers if worker.poll() is None]
    for worker in workers:
        worker.kill()
    print("ended", *[worker.wait() for worker in workers], flush=True)


main()
