"""`mailer dkim` from the first key to its record in the DNS, and the output of `config check` meanwhile."""

import json
from pathlib import Path

import pytest

from mailer import cli
from mailer.processes import bootstrap
from mailer.settings.loading import Settings

DOMAIN = "restoring-trust.example"


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_HOME", str(tmp_path / "data"))
    bootstrap.create(Settings(home=tmp_path / "data"))


@pytest.fixture
def mailer(capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        printed = capsys.readouterr()
        return ended.value.code, printed.out + printed.err

    return run


def test_a_key_is_made_and_its_record_and_the_next_steps_are_told(mailer, tmp_path: Path) -> None:
    status, printed = mailer("dkim", "keygen", DOMAIN, "--selector", "autumn")
    assert status == 0
    assert (
        f"autumn._domainkey.{DOMAIN}" in printed and '"v=DKIM1; k=rsa; p=' in printed and "Next:" in printed
    )
    assert max(len(line.strip(' "').removeprefix('Value  "')) for line in printed.splitlines()) <= 255
    path = tmp_path / "data" / "secrets" / "dkim" / DOMAIN / "autumn.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in printed and path.read_text().splitlines()[1] not in printed
    status, printed = mailer("dkim", "keygen", DOMAIN, "--selector", "autumn")
    assert status == 2 and "--selector" in printed


def test_without_a_name_a_key_is_called_after_its_type_and_month(mailer) -> None:
    _, printed = mailer("dkim", "keygen", DOMAIN, "--type", "ed25519", "--json")
    key = json.loads(printed)
    assert key["selector"].startswith("ed25519-2") and key["type"] == "ed25519"
    assert key["record"] == "".join(key["strings"])


def test_a_key_for_a_foreign_domain_is_refused(mailer, tmp_path: Path) -> None:
    for command in ("keygen", "check"):
        status, printed = mailer("dkim", command, "elsewhere.example")
        assert status == 2 and f"is not among sending_domains ({DOMAIN})" in printed
    assert not (tmp_path / "data" / "secrets" / "dkim").exists()


def test_keys_are_listed_with_their_records_and_with_what_is_missing(mailer) -> None:
    status, printed = mailer("dkim", "list")
    assert status == 0 and "There is no key yet." in printed and "leaves unsigned" in printed
    mailer("dkim", "keygen", DOMAIN, "--selector", "s1", "--type", "ed25519")
    _, printed = mailer("dkim", "list")
    assert f"s1._domainkey.{DOMAIN}" in printed and "only an ed25519 key" in printed
    rows = json.loads(mailer("dkim", "list", "--json")[1])
    assert [(row["domain"], row["selector"], row["bits"]) for row in rows] == [(DOMAIN, "s1", 256)]


def test_a_record_is_compared_with_the_key_without_asking_the_dns(mailer, tmp_path: Path) -> None:
    assert mailer("dkim", "check", DOMAIN)[0] == 2
    mailer("dkim", "keygen", DOMAIN, "--selector", "s1")
    record = json.loads(mailer("dkim", "list", "--json")[1])[0]["strings"]
    status, printed = mailer("dkim", "check", f"{DOMAIN.upper()}.")
    assert status == 0 and "the key is good" in printed and "dig +short TXT s1._domainkey" in printed
    answer = tmp_path / "answer"
    answer.write_text(" ".join(f'"{part}"' for part in record))
    status, printed = mailer("dkim", "check", DOMAIN, "--published", str(answer))
    assert status == 0 and "the record belongs to this key" in printed
    answer.write_text(f'"{record[0]}"')
    status, printed = mailer("dkim", "check", DOMAIN, "--published", str(answer))
    assert status == 2 and "publish all of it" in printed and "None of these records" in printed
    rows = json.loads(mailer("dkim", "check", DOMAIN, "--json")[1])
    assert rows[0]["selector"] == "s1"


def test_mail_without_a_key_is_a_warning_and_a_bad_key_a_mistake(mailer, tmp_path: Path) -> None:
    status, printed = mailer("config", "check")
    assert status == 0 and f"Mail from {DOMAIN} leaves unsigned" in printed
    mailer("dkim", "keygen", DOMAIN, "--selector", "s1")
    status, printed = mailer("config", "check")
    assert status == 0 and "unsigned" not in printed
    (tmp_path / "data" / "secrets" / "dkim" / DOMAIN / "s1.pem").chmod(0o644)
    status, printed = mailer("config", "check")
    assert status == 2 and "run: chmod 600" in printed
