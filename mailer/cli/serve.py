"""`mailer serve`: runs everything on one machine."""

import os

import click

from mailer import service
from mailer.cli import output
from mailer.monitoring import logs
from mailer.processes import bootstrap, serve
from mailer.settings import loading


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on; also PORT. Default 8000.")
def command(host: str, port: int | None) -> None:
    """Run everything: pages, schedule and delivery.

    The first start makes the data folder, the keys and the database. Without a mail server in the settings it
    is a try-out: mail goes to a post office that you read in the browser. Ctrl-C, or SIGTERM, finishes what
    was begun and ends.
    """
    logs.configure()
    environ = {**os.environ, **({"PORT": str(port)} if port else {})}
    settings = loading.load(environ)
    bootstrap.start(settings)
    app_service = service.build(settings)

    def ready() -> None:
        output.print_line(f"\n  Pages:        {settings.public_url}/")
        if settings.tryout:
            output.print_line(f"  Post office:  {settings.public_url}/postoffice")
            output.print_line("\n  This is a try-out: nothing leaves this machine. Stop it with Ctrl-C.\n")

    try:
        app_service.editions.check()
        serve.serve(app_service, environ=environ, host=host, ready=ready)
    finally:
        app_service.close()
