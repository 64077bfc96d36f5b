"""Service: the composition root, which alone builds the parts of a process and connects them."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import lists.tags  # noqa: F401  (only commands use it, and every process must register every table)
from lists import addresses
from lists.addresses import Address, domain_of
from lists.clock import Clock
from lists.contacts import LANGUAGES
from lists.db import Database
from mailer.compose import dkim_keys, editions
from mailer.compose.composer import SIGNING_THREADS, Composer, Sender
from mailer.compose.dkim import Signer
from mailer.compose.editions import Editions
from mailer.compose.source import Source
from mailer.compose.tokens import Links, Tokens
from mailer.delivery import journal
from mailer.delivery.delivery import Delivery
from mailer.delivery.relay_pool import RelayPool
from mailer.delivery.rescue import Rescue
from mailer.jobs.held_releases import Releases
from mailer.jobs.jobs import Jobs
from mailer.library.resources import ResourceLibrary
from mailer.policy import RESOURCES
from mailer.preflight import Preflight
from mailer.settings import key_check, public_url
from mailer.settings.keys import Keys
from mailer.settings.loading import Settings, secret_folder
from mailer.smtp.connection import SmtpConnection
from mailer.smtp.oauth_token import OAuthTokenProvider
from mailer.smtp.rate import parse_per_domain
from mailer.smtp.relay_settings import Relay
from mailer.sources import schedule
from mailer.sources.broadcasts import Broadcasts
from mailer.sources.confirmations import Confirmations
from mailer.sources.invitations import Invitations
from mailer.sources.schedule import Schedule
from mailer.sources.sequences import Sequences
from mailer.sources.staff_digest import StaffDigest
from mailer.templates import templates
from mailer.templates.discreet import DiscreetWording
from mailer.templates.rendering import Frame
from mailer.tryout import postoffice, time_machine
from mailer.tryout.postoffice import PostOffice
from mailer.tryout.time_machine import TimeMachine

ROOT = Path(__file__).resolve().parents[1]
EMAIL_TEMPLATES = ROOT / "templates" / "email"

TEMPLATE_KINDS = {
    "confirm/interest": "confirmation",
    "confirm/organizers": "confirmation",
    "confirm/added": "confirmation",
    "confirm/readdressed": "confirmation",
    "already": "already",
    "received": "received",
    "access": "access",
    "invitation": "invitation",
    "notice": "notice",
}


@dataclass(frozen=True, kw_only=True)
class Service:
    """All parts of one process of this service, built once."""

    settings: Settings
    keys: Keys
    database: Database
    clock: Clock
    tokens: Tokens
    links: Links
    editions: Editions
    schedules: Sequence[Schedule]
    confirmations: Confirmations
    sequences: Sequences
    invitations: Invitations
    broadcasts: Broadcasts
    staff_digest: StaffDigest
    sources: Mapping[str, Source]
    composer: Composer
    preflight: Preflight
    jobs: Jobs
    rescue: Rescue
    name: str

    @property
    def relay_names(self) -> Sequence[str]:
        """Return the names of the configured relays; none in a try-out."""
        url = self.settings.smtp_url
        return [relay.name for relay in Relay.parse_all(url.get_secret_value())] if url is not None else []

    @contextmanager
    def relays(self) -> Iterator[Sequence[Relay]]:
        """Return the relays to deliver to: the configured ones, or the try-out's post office.

        While no post office runs on this data folder, one is started for the duration of the block. Raises
        Conflict before any real mail is sent from a database whose clock was moved in a try-out.
        """
        if self.settings.smtp_url is not None:
            with self.database.read() as session:
                time_machine.refuse_real_mail(session)
            yield Relay.parse_all(self.settings.smtp_url.get_secret_value())
            return
        port = postoffice.find_port(self.settings.home)
        if port is not None:
            yield [_local_relay(port)]
            return
        post_office = PostOffice(self.database, self.clock, home=self.settings.home)
        try:
            yield [_local_relay(post_office.start())]
        finally:
            post_office.stop()

    @contextmanager
    def delivery(self, relays: Sequence[Relay]) -> Iterator[Delivery]:
        """Return a worker that delivers to `relays`; database work has a thread of its own, signing two."""
        self.rescue.settle_ended_workers()  # claims of earlier workers of this data folder that ended
        with (
            ThreadPoolExecutor(SIGNING_THREADS, thread_name_prefix="signing") as signing_pool,
            ThreadPoolExecutor(1, thread_name_prefix="ledger") as database_thread,
            journal.open_new(self.rescue.folder, worker=self.name) as open_journal,
        ):
            yield Delivery(
                database=self.database,
                clock=self.clock,
                composer=replace(self.composer, parallel_map=signing_pool.map),
                pools=[self._relay_pool(relay) for relay in relays],
                executor=database_thread,
                journal=open_journal,
                worker=self.name,
                domains={} if self.settings.tryout else parse_per_domain(self.settings.domain_limits),
            )

    def _relay_pool(self, relay: Relay) -> RelayPool:
        helo = domain_of(self.settings.from_address)
        tokens = OAuthTokenProvider(relay.token_command) if relay.token_command else None
        return RelayPool(
            name=relay.name,
            connect=lambda: SmtpConnection(relay, helo=helo, messages=relay.messages, tokens=tokens),
            connections=min(self.settings.connections, relay.connections or self.settings.connections),
            weight=relay.weight,
            rate=relay.rate,
            shared=relay.connections,
        )

    def deliver_until_empty(self) -> Delivery:
        """Deliver due messages in this process; returns the worker, which counts the messages it sent."""
        with self.relays() as relays, self.delivery(relays) as delivery:
            asyncio.run(delivery.run(until_empty=True))
        return delivery

    def time_machine(self, *, drain: Callable[[], None]) -> TimeMachine:
        """Return the time machine of a try-out; `drain` waits for, or does, the delivery."""
        return TimeMachine(
            database=self.database,
            clock=self.clock,
            next_due=self.jobs.next_due,
            tick=self.jobs.tick,
            drain=drain,
        )

    def require_noted(self) -> None:
        """Raise BadSettings or Conflict unless this database is used with these keys and this public URL."""
        with self.database.read() as session:
            key_check.require_noted(session, self.keys, secret_folder(self.settings))
            public_url.require(session, self.settings)

    def close(self) -> None:
        """Close every connection to the database."""
        self.database.dispose()


def build(settings: Settings, *, clock: Clock | None = None) -> Service:
    """Build the service from its settings; the database must have been migrated. No key is made.

    Raises BrokenTemplate for a shipped template that cannot be read, BadSettings for keys that cannot be read
    or are not those of the database.
    """
    database = Database(settings.database_url)
    secret = key_check.load_keys(database, secret_folder(settings))
    return assemble(settings, database=database, keys=secret, clock=clock)


def assemble(settings: Settings, *, database: Database, keys: Keys, clock: Clock | None) -> Service:
    """Build the service over a database that is open, with these keys; raises BrokenTemplate as `build`."""
    secret = keys
    signing_keys = dkim_keys.load(dkim_keys.folder(settings.home), domains=settings.sending_domains)
    if clock is None:
        clock = time_machine.create_clock(database) if settings.tryout else Clock()
    tokens = Tokens(secret.links)
    links = Links(settings.public_url, tokens)
    schedules = schedule.load_all(EMAIL_TEMPLATES)
    frames = {language: templates.load_frame(EMAIL_TEMPLATES, language) for language in LANGUAGES}
    message_editions = _load_editions(settings, links, schedules, frames)
    sender = _build_sender(settings, frames)
    confirmations = Confirmations(editions=message_editions, links=links)
    sequences = Sequences(editions=message_editions, schedules=schedules, default_zone=settings.default_zone)
    invitations = Invitations(
        editions=message_editions,
        links=links,
        secret=secret.links,
        organizer=(sender.name, sender.address),
        discreet_wordings=sender.discreet_wordings,
    )
    broadcasts = Broadcasts()
    staff_digest = StaffDigest(editions=message_editions, staff=_staff_address(settings, secret))
    all_sources: tuple[Source, ...] = (confirmations, sequences, invitations, broadcasts, staff_digest)
    sources = {kind: source for source in all_sources for kind in source.kinds}
    composer = Composer(
        sources=sources,
        links=links,
        sender=sender,
        library=message_editions.library,
        signer=Signer(keys=signing_keys),
    )
    rescue = Rescue(database=database, clock=clock, sources=sources, folder=settings.home / journal.FOLDER)
    return Service(
        settings=settings,
        keys=secret,
        database=database,
        clock=clock,
        tokens=tokens,
        links=links,
        editions=message_editions,
        schedules=schedules,
        confirmations=confirmations,
        sequences=sequences,
        invitations=invitations,
        broadcasts=broadcasts,
        staff_digest=staff_digest,
        sources=sources,
        composer=composer,
        preflight=Preflight(composer=composer, editions=message_editions, invitations=invitations),
        jobs=Jobs(
            database=database,
            clock=clock,
            sources=sources,
            broadcasts=broadcasts,
            sequences=sequences,
            releases=Releases(sources=sources, confirmations=confirmations, editions=message_editions),
            rescue=rescue,
            home=settings.home,
            fingerprint=key_check.compute_fingerprints(secret)["pepper"],
        ),
        rescue=rescue,
        name=f"{socket.gethostname()[:20]}.{os.getpid()}.{secrets.token_hex(4)}",
    )


def _load_editions(
    settings: Settings, links: Links, schedules: Sequence[Schedule], frames: Mapping[str, Frame]
) -> Editions:
    steps = {
        sequence.template_name(step.name): "sequence" for sequence in schedules for step in sequence.steps
    }
    library = ResourceLibrary(links=settings.resources, home=links.home, tryout=settings.tryout)
    return editions.load(
        EMAIL_TEMPLATES,
        kinds={**TEMPLATE_KINDS, **steps},
        frames=frames,
        shared={
            language: _shared_values(settings, links, library, frames[language].words, language)
            for language in LANGUAGES
        },
        library=library,
    )


def _build_sender(settings: Settings, frames: Mapping[str, Frame]) -> Sender:
    return Sender(
        name=settings.from_name,
        address=settings.from_address,
        reply_to=settings.reply_to,
        campaign=settings.campaign_name.model_dump(),
        discreet_wordings={
            language: DiscreetWording.from_words(frame.words) for language, frame in frames.items()
        },
    )


def _staff_address(settings: Settings, keys: Keys) -> Address | None:
    if not settings.staff_address:
        return None
    return addresses.parse(settings.staff_address, pepper=keys.pepper)


def _local_relay(port: int) -> Relay:
    return Relay(host=postoffice.HOST, port=port, tls="none")


def _shared_values(
    settings: Settings, links: Links, library: ResourceLibrary, words: Mapping[str, str], language: str
) -> dict[str, str]:
    """Return the values that are the same for all readers of a language; frozen in each edition."""
    values = {
        "campaign": getattr(settings.campaign_name, language),
        "motto": getattr(settings.motto, language),
        "postal_address": settings.postal_address,
        "sender_name": settings.from_name,
        "reply_to": settings.reply_to,
        "home_url": links.home,
        "privacy_url": links.privacy_url,
        "organize_url": links.organize_url,
        "join_page_url": links.join_url,
        "greeting_plain": words["greeting"],
        "greeting_named": words["greeting_named"],
    }
    return values | {f"{slot}_url": library.build_url(slot, language) for slot in RESOURCES}
