"""An application of `apps.py` whose tables are shown over HTTP, as a process.

python serving.py PORT count --brokers 127.0.0.1:9092 --id a --state-dir /tmp/a --in w --out c
"""

import logging
import signal
import socket
import sys
import threading
import time

import uvicorn
from starlette.applications import Starlette

from penstock.query.query import Query
from penstock.query.web.stores import store_routes
from penstock.runtime.announcing import announce, peers_of
from penstock.runtime.client_configs import ClientConfigs
from penstock.runtime.clients import Clients
from penstock.topics.admin import Admin
from tests.kafka import apps


def main(port: int, arguments: list[str]) -> None:
    app = apps.build(arguments)
    query = app.start()
    signal.signal(signal.SIGTERM, lambda *_: query.stop())
    monitor, clients, configs = query._monitor, Clients(), ClientConfigs(app)
    while not monitor.instance_id and query.is_active:
        time.sleep(0.01)
    peers = peers_of(monitor, None, clients)
    web = Starlette(routes=store_routes(monitor.holdings, peers))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    config = uvicorn.Config(web, log_level="warning", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, args=([listener],), daemon=True).start()
    admin = Admin(configs.common(), timeout_ms=10_000)
    announcing = announce(monitor, peers, ("127.0.0.1", port), configs, admin, clients)
    wait(query)
    announcing.close()


def wait(query: Query) -> None:
    while not query.await_termination("1s"):
        pass


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    main(int(sys.argv[1]), sys.argv[2:])
