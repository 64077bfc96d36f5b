"""Dora joins from a phone without scripts, reads her mail in the post office, and leaves."""

import pytest

from tests.browser.conftest import deliver


@pytest.fixture
def phone(browser):
    """A phone that runs no scripts."""
    context = browser.new_context(
        viewport={"width": 375, "height": 740}, locale="es-US", java_script_enabled=False, has_touch=True
    )
    yield context.new_page()
    context.close()


def test_dora_joins_confirms_travels_in_time_and_leaves(phone, world):
    phone.goto(world.address)
    phone.get_by_role("link", name="Quiero saber más").click()
    phone.get_by_label("Correo electrónico").fill("dora@vecinas.example.org")
    phone.get_by_label("Código postal").fill("85004")
    phone.get_by_role("button").click()
    assert "dora@vecinas.example.org" in phone.inner_text("main")
    deliver(world.service)

    phone.get_by_role("link", name="Ver sus correos").click()
    phone.locator(".mails a", has_text="dora@vecinas.example.org").first.click()
    with phone.context.expect_page() as opening:
        phone.frame_locator("iframe").get_by_role("link", name="Sí, escríbanme").click()
    confirming = opening.value
    confirming.wait_for_load_state()
    confirming.get_by_role("button", name="Confirmar").click()
    assert "El paquete de materiales" in confirming.inner_text("main")
    confirming.close()

    phone.get_by_role("link", name="Ver sus correos").click()
    phone.get_by_role("button", name="Una semana").click()
    phone.locator(".mails a", has_text="dora@vecinas.example.org").first.click()
    phone.locator("pre.plain-text a[href*='/unsubscribe/']").click()
    phone.get_by_role("button", name="Salir de esta lista").click()
    assert "Ya salió de esta lista" in phone.inner_text("main")

    before = mails(phone, world)
    phone.goto(f"{world.address}/postoffice?lang=es")
    phone.fill("#days", "30")
    phone.get_by_role("button", name="Adelantar").click()
    assert mails(phone, world) == before


def mails(phone, world):
    """Return the number of mails to Dora."""
    captured = phone.request.get(f"{world.address}/postoffice/messages.json").json()
    return sum(mail["to"] == "dora@vecinas.example.org" for mail in captured)
