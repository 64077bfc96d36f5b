"""Reasons: the codes of why a message is in its state, each with a sentence for staff in both languages.

A row of the outbox stores a code as its `reason`, and as `detail` what differs between rows of one code: a
domain, a field, a server's reply. Code compares codes; `describe` makes the sentence where it is shown. The
first codes are those of the permission rule (lists/permission.py).
"""

from collections.abc import Mapping
from enum import StrEnum

from lists.contacts import LANGUAGES

MAX_CODE_LENGTH = 32


class Reason(StrEnum):
    """A code; stored, so it is never renamed."""

    SUPPRESSED = "suppressed"
    NEVER_JOINED = "never joined"
    LEFT = "left"
    NOT_CONFIRMED = "not confirmed"
    ALREADY_CONFIRMED = "already confirmed"
    PAUSED = "paused"
    DECLINED = "declined"
    ARRIVING = "arriving"
    LEFT_WHILE_HELD = "left_while_held"

    DEFERRED = "deferred"
    NO_ANSWER = "no_answer"
    SENDER_REFUSED = "sender_refused"
    REFUSED = "refused"
    RELAY_UNREACHABLE = "relay_unreachable"
    CONNECTION_FAILED = "connection_failed"
    SLOW_SERVER = "slow_server"
    NO_CAPABLE_RELAY = "no_capable_relay"
    DOMAIN_RATE_LIMIT = "domain_rate_limit"
    DOMAIN_SUSPENDED = "domain_suspended"
    DOMAIN_PAUSED = "domain_paused"

    CONNECTION_BROKEN = "connection_broken"
    LATE_ANSWER = "late_answer"
    PROGRAM_FAULT = "program_fault"
    WORKER_DIED = "worker_died"
    MACHINE_STOPPED = "machine_stopped"
    WORKER_LOST = "worker_lost"
    BEFORE_RESTORE = "before_restore"
    RESENT_IN_DOUBT = "resent_in_doubt"
    JOURNAL = "journal"

    MISSING_LINK = "missing_link"
    OUR_FAULT = "our_fault"
    NO_SMTPUTF8 = "no_smtputf8"
    NO_8BITMIME = "no_8bitmime"
    RELAY_SIZE_LIMIT = "relay_size_limit"
    SERVER_SIZE_LIMIT = "server_size_limit"

    TOO_LATE = "too_late"
    RECALLED = "recalled"
    CALL_OVER = "call_over"
    NEWER_INVITATION = "newer_invitation"
    OWN_ADDRESS = "own_address"
    ALREADY_INVITED = "already_invited"
    NOTHING_WAITS = "nothing_waits"
    MERGED = "merged"
    ADDRESS_CHANGED = "address_changed"
    GIVEN_UP = "given_up"
    STAFF_SENT = "staff_sent"
    STAFF_RESEND = "staff_resend"
    OTHER = "other"


SENTENCES: Mapping[Reason, Mapping[str, str]] = {
    Reason.SUPPRESSED: {
        "en": "This address must not be written to: it was forgotten, complained, or bounces.",
        "es": "A esta dirección no se debe escribir: se olvidó, se quejó, o no recibe correo.",
    },
    Reason.NEVER_JOINED: {
        "en": "This person is not on the list.",
        "es": "Esta persona no está en la lista.",
    },
    Reason.LEFT: {"en": "This person left the list.", "es": "Esta persona salió de la lista."},
    Reason.NOT_CONFIRMED: {
        "en": "This person has not confirmed the sign-up, or a new address, yet. It leaves once they do.",
        "es": "Esta persona aún no confirma que quiere recibirlo, o su nueva dirección. Sale cuando lo haga.",
    },
    Reason.ALREADY_CONFIRMED: {
        "en": "This person has confirmed already, so there is nothing to ask.",
        "es": "Esta persona ya confirmó, así que no hay nada que preguntar.",
    },
    Reason.PAUSED: {
        "en": "This person asked for a break. It leaves when the break is over.",
        "es": "Esta persona pidió una pausa. Sale cuando la pausa termine.",
    },
    Reason.DECLINED: {
        "en": "This person does not want emails of this kind.",
        "es": "Esta persona no quiere correos de este tipo.",
    },
    Reason.ARRIVING: {
        "en": "This person comes with an import that is not finished. Import the file again.",
        "es": "Esta persona viene con una importación sin terminar. Importe el archivo otra vez.",
    },
    Reason.LEFT_WHILE_HELD: {
        "en": "This person left the list, or must not be written to, while the message was held.",
        "es": "Esta persona salió de la lista, o ya no se le debe escribir, mientras el mensaje esperaba.",
    },
    Reason.DEFERRED: {
        "en": "Their server asked us to try again later.",
        "es": "Su servidor nos pidió intentarlo más tarde.",
    },
    Reason.NO_ANSWER: {
        "en": "Their server did not answer in time. It is tried again.",
        "es": "Su servidor no respondió a tiempo. Se intenta otra vez.",
    },
    Reason.SENDER_REFUSED: {
        "en": "Their server refuses us, not this person. It is tried again; “mailer relay list” tells more.",
        "es": "Su servidor nos rechaza a nosotros, no a esta persona. Se intenta otra vez;"
        " “mailer relay list” dice más.",
    },
    Reason.REFUSED: {
        "en": "Their server refused it. Its reply is with the attempts.",
        "es": "Su servidor lo rechazó. La respuesta está en los intentos.",
    },
    Reason.RELAY_UNREACHABLE: {
        "en": "Our mail server cannot be reached. It is tried again by itself.",
        "es": "No se puede llegar a nuestro servidor de correo. Se intenta otra vez por sí solo.",
    },
    Reason.CONNECTION_FAILED: {
        "en": "Its connection failed, while others got through. It is tried again.",
        "es": "Su conexión falló, mientras otras funcionaron. Se intenta otra vez.",
    },
    Reason.SLOW_SERVER: {
        "en": "Their server lets others wait. It is tried in a while.",
        "es": "Su servidor hace esperar a otros mensajes. Se intenta en un rato.",
    },
    Reason.NO_CAPABLE_RELAY: {
        "en": "It waits for a mail server of ours that can carry it.",
        "es": "Espera un servidor de correo nuestro que pueda llevarlo.",
    },
    Reason.DOMAIN_RATE_LIMIT: {
        "en": "It waits for the limit of {detail}.",
        "es": "Espera por el límite de {detail}.",
    },
    Reason.DOMAIN_SUSPENDED: {
        "en": "The servers of {detail} refuse our mail. It is tried again by itself.",
        "es": "Los servidores de {detail} rechazan nuestro correo. Se intenta otra vez por sí solo.",
    },
    Reason.DOMAIN_PAUSED: {
        "en": "Staff paused mail to {detail}. “mailer relay resume” ends that.",
        "es": "El equipo pausó el correo a {detail}. “mailer relay resume” termina la pausa.",
    },
    Reason.CONNECTION_BROKEN: {
        "en": "The connection broke after the last byte: it may or may not have arrived.",
        "es": "La conexión se cortó después del último byte: puede haber llegado o no.",
    },
    Reason.LATE_ANSWER: {
        "en": "The server did not answer after the last byte: it may or may not have arrived.",
        "es": "El servidor no respondió después del último byte: puede haber llegado o no.",
    },
    Reason.PROGRAM_FAULT: {
        "en": "A fault of the program interrupted the hand-over: it may or may not have arrived.",
        "es": "Un error del programa interrumpió la entrega: puede haber llegado o no.",
    },
    Reason.WORKER_DIED: {
        "en": "The delivery process died between the last byte and the answer:"
        " it may or may not have arrived.",
        "es": "El proceso de entrega murió entre el último byte y la respuesta: puede haber llegado o no.",
    },
    Reason.MACHINE_STOPPED: {
        "en": "The machine stopped while a delivery process held it: it may or may not have left.",
        "es": "La máquina se detuvo mientras un proceso de entrega lo tenía: puede haber salido o no.",
    },
    Reason.WORKER_LOST: {
        "en": "The delivery process that held it was lost, with its machine or its way to the database:"
        " it may or may not have left.",
        "es": "El proceso de entrega que lo tenía se perdió, con su máquina o su camino a la base de datos:"
        " puede haber salido o no.",
    },
    Reason.BEFORE_RESTORE: {
        "en": "It may have left before the backup was restored.",
        "es": "Puede haber salido antes de que se restaurara la copia de seguridad.",
    },
    Reason.RESENT_IN_DOUBT: {
        "en": "Nobody can say whether it arrived; it is sent once more.",
        "es": "Nadie puede decir si llegó; se envía una vez más.",
    },
    Reason.JOURNAL: {
        "en": "The journal of the delivery process has this outcome.",
        "es": "El registro del proceso de entrega tiene este resultado.",
    },
    Reason.MISSING_LINK: {
        "en": "A link in it has no target: {detail}. Add the resource (“mailer resource add”),"
        " and it leaves.",
        "es": "Un enlace no lleva a ninguna parte: {detail}. Agregue el recurso"
        " (“mailer resource add”) y sale.",
    },
    Reason.OUR_FAULT: {
        "en": "A fault of ours: {detail}. Mend it, then “mailer outbox retry”.",
        "es": "Un error nuestro: {detail}. Corríjalo, y después “mailer outbox retry”.",
    },
    Reason.NO_SMTPUTF8: {
        "en": "Our mail server cannot send to addresses with letters like ñ or é before the @."
        " It leaves once it can.",
        "es": "Nuestro servidor de correo no puede enviar a direcciones con letras como ñ o é antes de la @."
        " Sale cuando pueda.",
    },
    Reason.NO_8BITMIME: {
        "en": "Our mail server takes no 8-bit text. It leaves once it does.",
        "es": "Nuestro servidor de correo no acepta texto de 8 bits. Sale cuando lo acepte.",
    },
    Reason.RELAY_SIZE_LIMIT: {
        "en": "Our mail server takes no message of more than {detail} octets. It leaves once it does.",
        "es": "Nuestro servidor de correo no acepta mensajes de más de {detail} octetos."
        " Sale cuando los acepte.",
    },
    Reason.SERVER_SIZE_LIMIT: {
        "en": "The message is larger than the server takes: {detail}",
        "es": "El mensaje es más grande de lo que el servidor acepta: {detail}",
    },
    Reason.TOO_LATE: {
        "en": "It was too late to send it.",
        "es": "Ya era demasiado tarde para enviarlo.",
    },
    Reason.RECALLED: {"en": "Staff recalled it.", "es": "El equipo lo retiró."},
    Reason.CALL_OVER: {
        "en": "The call is over or cancelled.",
        "es": "La llamada ya pasó o se canceló.",
    },
    Reason.NEWER_INVITATION: {
        "en": "A newer invitation to this call takes its place.",
        "es": "Una invitación más nueva a esta llamada toma su lugar.",
    },
    Reason.ALREADY_INVITED: {"en": "This person is invited already.", "es": "Esta persona ya está invitada."},
    Reason.OWN_ADDRESS: {
        "en": "It would invite the address that the invitation comes from.",
        "es": "Invitaría a la dirección de la que viene la invitación.",
    },
    Reason.NOTHING_WAITS: {
        "en": "Nothing waits for staff any more.",
        "es": "Ya no queda nada pendiente para el equipo.",
    },
    Reason.MERGED: {
        "en": "Two addresses became one, so it is not sent twice.",
        "es": "Dos direcciones se unieron en una, así que no se envía dos veces.",
    },
    Reason.ADDRESS_CHANGED: {
        "en": "This person has a new address, so nothing goes to the old one.",
        "es": "Esta persona tiene una dirección nueva, así que nada va a la anterior.",
    },
    Reason.GIVEN_UP: {"en": "Staff gave it up.", "es": "El equipo decidió no enviarlo."},
    Reason.STAFF_SENT: {"en": "Staff say that it arrived.", "es": "El equipo dice que llegó."},
    Reason.STAFF_RESEND: {
        "en": "Staff want it sent once more.",
        "es": "El equipo quiere que se envíe una vez más.",
    },
    Reason.OTHER: {"en": "{detail}", "es": "{detail}"},
}


def describe(reason: str, detail: str = "", *, language: str = "en") -> str:
    """Return the sentence of a stored code, "" for a row without one; a code unknown here is shown itself."""
    if not reason:
        return ""
    try:
        sentences = SENTENCES[Reason(reason)]
    except ValueError:  # a newer version of the program wrote it
        return f"{reason}: {detail}" if detail else reason
    return sentences[language if language in LANGUAGES else LANGUAGES[0]].format(detail=detail)
