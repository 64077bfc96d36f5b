"""The settings, and the sentence for each mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from lists.errors import BadSettings
from mailer.settings import loading
from mailer.settings.loading import Settings

SERVER = "smtp://campaign:geheim@relay.example.org:587"
REAL = {
    "MAILER_SMTP_URL": SERVER,
    "MAILER_PUBLIC_URL": "https://mail.example.org",
    "MAILER_POSTAL_ADDRESS": "12 Church Street, Phoenix, AZ 85003",
    "MAILER_FROM_ADDRESS": "campaign@example.org",
    "MAILER_SENDING_DOMAINS": "example.org",
}


def mistakes(home: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as raised:
        loading.load(environ, home=home)
    return raised.value.mistakes


def write(path: Path, text: str, *, mode: int = 0o600) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(mode)


def test_with_nothing_written_it_is_a_tryout_on_this_machine(tmp_path: Path) -> None:
    settings = loading.load({}, home=tmp_path)
    assert settings.tryout
    assert settings.loopback
    assert settings.public_url == "http://127.0.0.1:8000"
    assert settings.database_url == f"sqlite:///{tmp_path}/mailer.db"
    assert settings.postal_address.startswith("SAMPLE")
    assert settings.from_address == settings.reply_to == "campaign@restoring-trust.example"
    assert settings.sending_domains == ("restoring-trust.example",)
    assert settings.campaign_name["en"] == "Restoring Trust: Breaking ICE's Hold"
    assert settings.campaign_name["es"].startswith("Restoring Trust")
    assert settings.motto["en"] == "The only secure community is the beloved community"


def test_the_environment_wins_over_the_secrets_folder_and_that_over_the_file(tmp_path: Path) -> None:
    write(
        tmp_path / "mailer.toml",
        'port = 1\ndefault_zone = "America/Phoenix"\n[resources.toolkit]\nen = "https://a.org/en"\n',
    )
    write(tmp_path / "secrets" / "smtp_url", SERVER + "\n")
    settings = loading.load(
        {"PORT": "2", "MAILER_PORT": "3", "MAILER_RESOURCES__TOOLKIT__ES": "https://a.org/es"}
        | {key: value for key, value in REAL.items() if key != "MAILER_SMTP_URL"},
        home=tmp_path,
    )
    assert settings.port == 3
    assert settings.default_zone == "America/Phoenix"
    assert settings.resources["toolkit"]["en"] == "https://a.org/en"
    assert settings.resources["toolkit"]["es"] == "https://a.org/es"
    assert settings.smtp_url is not None
    assert settings.smtp_url.get_secret_value() == SERVER


def test_the_data_folder_comes_from_the_environment_and_port_sets_the_address(tmp_path: Path) -> None:
    settings = loading.load({"MAILER_HOME": str(tmp_path / "there"), "PORT": "9000"})
    assert settings.home == tmp_path / "there"
    assert settings.public_url == "http://127.0.0.1:9000"


def test_another_campaigns_english_name_stands_in_for_a_missing_spanish_one(tmp_path: Path) -> None:
    settings = loading.load({"MAILER_CAMPAIGN_NAME__EN": "Clean Water Now"}, home=tmp_path)
    assert settings.campaign_name["es"] == settings.from_name == "Clean Water Now"
    only_spanish = loading.load({"MAILER_CAMPAIGN_NAME__ES": "Restoring Trust: recuperar"}, home=tmp_path)
    assert only_spanish.campaign_name["en"] == "Restoring Trust: Breaking ICE's Hold"


def test_a_complete_real_setup_is_accepted(tmp_path: Path) -> None:
    settings = loading.load(REAL, home=tmp_path)
    assert not settings.tryout
    assert not settings.loopback
    assert settings.reply_to == "campaign@example.org"


def test_every_mistake_is_told_at_once_with_its_place_and_what_to_write(tmp_path: Path) -> None:
    write(
        tmp_path / "mailer.toml",
        'default_zone = "Mars/Olympus"\nconections = 5\n[resources.toolkit]\nfr = "x"\n',
    )
    sentences = mistakes(
        tmp_path,
        PORT="eight",
        MAILER_SMTP_ULR="smtp://x",
        MAILER_CAMPAIGN_NAME="Just a name",
        MAILER_TRUSTED_PROXIES="everybody",
        MAILER_DATABASE_URL="mysql://x",
        MAILER_RESOURCES__GUIDE__EN="javascript:alert(1)",
        MAILER_PUBLIC_URL="http://mail.example.org",
    )
    text = "\n".join(sentences)
    assert len(sentences) == 11
    assert "port, in the environment variable PORT, cannot be used; write a number from 1 to 65535" in text
    assert f"default_zone, in {tmp_path}/mailer.toml, cannot be used; write a time zone" in text
    assert "conections, in " in text
    assert "did you mean connections?" in text
    assert (
        "smtp_ulr, in the environment variable MAILER_SMTP_ULR, is not a setting; did you mean smtp_url?"
        in text
    )
    assert "resources.toolkit.fr" in text
    assert "write campaign_name.en and campaign_name.es" in text
    assert "postgresql+psycopg://" in text
    assert "resources.guide.en" in text
    assert "write https:// instead" in text
    assert "names no mail server" in text


def test_a_public_address_without_a_mail_server_refuses_to_start(tmp_path: Path) -> None:
    sentences = mistakes(tmp_path, MAILER_PUBLIC_URL="https://mail.example.org")
    assert len(sentences) == 1
    assert "smtp_url names no mail server" in sentences[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9", "[::1]"])
def test_only_this_machine_may_use_plain_http(tmp_path: Path, host: str) -> None:
    assert loading.load({"MAILER_PUBLIC_URL": f"http://{host}:8000"}, home=tmp_path).loopback
    sentences = mistakes(tmp_path, **REAL | {"MAILER_PUBLIC_URL": "http://mail.example.org"})
    assert sentences == (
        "public_url is http://mail.example.org, so links would travel in the open; write https:// instead.",
    )


@pytest.mark.parametrize(
    "url",
    [
        "localhost.evil.org",
        "http://localhost.evil.org",
        "http://127.0.0.1.evil.org",
        "http://0.0.0.0:80",
        "http://10.0.0.1",
    ],
)
def test_an_address_that_only_looks_local_is_not(tmp_path: Path, url: str) -> None:
    assert mistakes(tmp_path, MAILER_PUBLIC_URL=url)


def test_real_mail_needs_a_postal_address_a_sender_and_its_domain(tmp_path: Path) -> None:
    sentences = mistakes(tmp_path, MAILER_SMTP_URL=SERVER)
    assert [sentence.split()[0] for sentence in sentences] == [
        "postal_address",
        "from_address",
        "sending_domains",
    ]
    sentences = mistakes(tmp_path, **REAL | {"MAILER_FROM_ADDRESS": "campaign@elsewhere.org"})
    assert len(sentences) == 1
    assert "from_address is at elsewhere.org, which sending_domains does not name" in sentences[0]
    sample = Settings(home=tmp_path).postal_address
    assert "postal_address" in mistakes(tmp_path, **REAL | {"MAILER_POSTAL_ADDRESS": sample})[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("FROM_NAME", "Ana\r\nBcc: everybody@example.org"),
        ("POSTAL_ADDRESS", "12 Church Street\nPhoenix"),
        ("FROM_ADDRESS", "ana@example.org>, <ben@example.org"),
        ("FROM_ADDRESS", "ana@ex\x00ample.org"),
        ("REPLY_TO", "nobody"),
        ("CAMPAIGN_NAME__EN", "a\nb"),
        ("PUBLIC_URL", "http://127.0.0.1:8000/folder"),
        ("PUBLIC_URL", "http://ana:pw@127.0.0.1"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "postgresql://host/name"),
        ("CONNECTIONS", "0"),
        ("PORT", "70000"),
    ],
)
def test_a_value_that_could_do_harm_is_refused(tmp_path: Path, key: str, value: str) -> None:
    assert len(mistakes(tmp_path, **{f"MAILER_{key}": value})) == 1


def test_secrets_are_in_no_text_no_error_and_no_listing(tmp_path: Path) -> None:
    database = "postgresql+psycopg://mailer:hidden@db.example.org/mailer"
    explained = loading.explain(REAL | {"MAILER_DATABASE_URL": database}, home=tmp_path)
    shown = repr(explained) + str(explained.settings) + "".join(row.value for row in explained.keys)
    sentences = mistakes(tmp_path, MAILER_SMTP_URL="geheim", MAILER_DATABASE_URL="mysql://mailer:hidden@db/x")
    for text in [shown, *sentences]:
        assert "geheim" not in text
        assert "hidden" not in text
    assert "postgresql+psycopg://…@db.example.org/mailer" in shown


def test_the_listing_says_where_each_value_came_from(tmp_path: Path) -> None:
    write(tmp_path / "mailer.toml", "port = 8100\n")
    rows = {row.key: row for row in loading.explain({"MAILER_MOTTO__EN": "Peace"}, home=tmp_path).keys}
    assert rows["port"].place == f"{tmp_path}/mailer.toml"
    assert rows["motto.en"].place == "the environment variable MAILER_MOTTO__EN"
    assert rows["connections"].place == "default"
    assert rows["smtp_url"].value == "not set"


def test_a_file_that_is_not_toml_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path / "mailer.toml", "port = 8000\nname: x\n")
    assert "line 2" in mistakes(tmp_path)[0]
    (tmp_path / "mailer.toml").write_bytes(b"motto = '\xff'")
    assert "not UTF-8" in mistakes(tmp_path)[0]
    write(tmp_path / "mailer.toml", 'home = "/elsewhere"')
    assert "set MAILER_HOME instead" in mistakes(tmp_path)[0]


def test_a_secret_that_others_can_read_is_told(tmp_path: Path) -> None:
    write(tmp_path / "secrets" / "smtp_url", SERVER, mode=0o644)
    environ = {key: value for key, value in REAL.items() if key != "MAILER_SMTP_URL"}
    assert "chmod 600" in mistakes(tmp_path, **environ)[0]
    (tmp_path / "secrets" / "smtp_url").unlink()
    write(tmp_path / "mailer.toml", f'smtp_url = "{SERVER}"', mode=0o644)
    assert "holds a password" in mistakes(tmp_path, **environ)[0]


def test_reading_the_settings_writes_nothing(tmp_path: Path) -> None:
    loading.load({}, home=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_reading_the_settings_loads_no_heavy_library() -> None:
    code = "import sys, mailer.settings.loading; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"sqlalchemy", "jinja2", "starlette", "email_validator"} & set(loaded)


def test_commands_make_the_links_of_the_last_start(tmp_path: Path) -> None:
    started = loading.load({"MAILER_HOME": str(tmp_path), "PORT": "8124"})
    loading.remember_port(started)
    by_hand = loading.load({"MAILER_HOME": str(tmp_path)})
    assert by_hand.public_url == "http://127.0.0.1:8124"
    (tmp_path / "mailer.toml").write_text("port = 8200\n")
    assert loading.load({"MAILER_HOME": str(tmp_path)}).port == 8200
    (tmp_path / "port").write_text("not a port")
    (tmp_path / "mailer.toml").unlink()
    assert loading.load({"MAILER_HOME": str(tmp_path)}).port == 8000


def test_several_mail_servers_may_be_written_and_each_mistake_says_where_it_is(tmp_path: Path) -> None:
    write(tmp_path / "secrets" / "smtp_url", SERVER + "?weight=3\nsmtps://other.example.org?weight=many\n")
    (sentence,) = mistakes(
        tmp_path, **{key: value for key, value in REAL.items() if key != "MAILER_SMTP_URL"}
    )
    assert "weight= must be a number from 0 to 1000" in sentence and "second SMTP address" in sentence
    assert "geheim" not in sentence
