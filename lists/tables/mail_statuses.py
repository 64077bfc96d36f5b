"""Mail statuses: what another tool's word for a person's state means, in several languages.

Another tool's state of an address (it bounces, it was blocked) is no consent, so a person in such a state
gets no request from this service. The words are those of the tools in lists/tables/foreign_exports.py, and
those that people write.
"""

from collections.abc import Mapping

from lists.tables import text_matching
from lists.tables.foreign_exports import BLOCKED, BOUNCING, COMPLAINED, NEVER_ASKED, UNCONFIRMED, UNSUBSCRIBED

WANTS_MAIL = "wanted"


def _split_words(*lines: str) -> list[str]:
    return [word for line in lines for word in line.split("|")]


# A word, as `text_matching.normalize` makes it → WANTS_MAIL, or why such people are not imported.
STATUS_WORDS: Mapping[str, str] = {
    **dict.fromkeys(
        _split_words(
            "subscribed|enabled|confirmed|active|yes|true|opted in|opt in|explicit|express|express consent",
            "valid|deliverable|verified|safe to send",
            "suscrito|suscrita|activo|activa|confirmado|confirmada|si|verdadero",
            "abonne|abonnee|actif|active|inscrit|inscrite|confirme|oui",
            "abonniert|angemeldet|aktiv|bestatigt|ja",
            "inscrito|inscrita|ativo|ativa|assinante|sim",
            "iscritto|iscritta|attivo|attiva|confermato",
        ),
        WANTS_MAIL,
    ),
    **dict.fromkeys(
        _split_words(
            "unsubscribed|unsubscribe|unsub|opted out|opt out|optout|optedout|left|no|false|removed|deleted",
            "canceled|cancelled|cancelled by user|resigned|do not email|do not contact|do not mail|inactive",
            "by user|disabled by user|churned|lapsed|expired|lost|unqualified|disqualified|taken off",
            "on hold opt out|unsubscribed from all|globally unsubscribed|dnc|withdrawn|revoked",
            "baja|de baja|dado de baja|dada de baja|se dio de baja|desuscrito|desuscrita|desubscrito",
            "cancelado|cancelada|eliminado|eliminada|inactivo|inactiva|no contactar|falso|anulado|anulada",
            "cancelo suscripcion|suscripcion cancelada|no desea correos|no enviar",
            "desabonne|desabonnee|desinscrit|desinscrite|resilie|resiliee|inactif|inactive|non",
            "abgemeldet|ausgetragen|inaktiv|geloscht|gekundigt|widerrufen|abbestellt|nein",
            "descadastrado|descadastrada|desinscrito|desinscrita|descadastrou|inativo|inativa|nao",
            "disiscritto|disiscritta|cancellato|cancellata|annullato|annullata|disattivato|inattivo",
            "uitgeschreven|afgemeld|wypisany|wypisana|avregistrerad|afmeldt|avmeldt",
        ),
        UNSUBSCRIBED,
    ),
    **dict.fromkeys(
        _split_words(
            "pending|unconfirmed|not confirmed|pending confirmation|awaiting confirmation",
            "awaiting approval|waiting|requested|unverified|not verified|invited|pendiente",
            "pendiente de confirmacion|sin confirmar|no confirmado|no confirmada|en espera|en attente",
            "non confirme|ausstehend|unbestatigt|nicht bestatigt|pendente|nao confirmado|in attesa",
        ),
        UNCONFIRMED,
    ),
    **dict.fromkeys(
        _split_words(
            "by bounces|by bounce|disabled by bounces|bad|undelivered|not deliverable|nonexistent",
            "cleaned|bounced|bouncing|previous bounce|bounce|hard bounce|hard bounced|soft bounce",
            "soft bounced|hardbounce|softbounce|unreachable|undeliverable|invalid|invalid email|on hold",
            "on hold bounce|hold|rebotado|rebotada|rebote|rebota|limpiado|limpiada|invalido",
            "correo invalido|no entregable|rebond|nettoye|nettoyee|invalide|bereinigt|unzustellbar",
            "ungultig|rejeitado|devolvido|limpo|rimbalzato|rimbalzata|pulito",
        ),
        BOUNCING,
    ),
    **dict.fromkeys(
        _split_words(
            "spam complaint|previous spam complaint|complained|complaint|spam|marked as spam|reported spam",
            "abuse|abuse complaint|queja|queja de spam|denuncio spam|plainte|beschwerde|reclamacao|reclamo",
        ),
        COMPLAINED,
    ),
    **dict.fromkeys(
        _split_words(
            "by admin|by moderator|disabled by admin",
            "blocklisted|blacklisted|disabled|archived|blocked|suppressed|suppression|temp hold",
            "temporary hold|suspended|banned|excluded|quarantined|manual|junk|deceased|bloqueado",
            "bloqueada|lista negra|suprimido|suprimida|archivado|archivada|excluido|excluida|bloque",
            "bloquee|supprime|gesperrt|blockiert|archiviert|bloccato|bloccata|geblokkeerd",
        ),
        BLOCKED,
    ),
    **dict.fromkeys(
        _split_words(
            "nonsubscribed|non subscribed|not subscribed|transactional|never subscribed|never asked|implied",
            "implicit|implied consent|no permission|no permissions set|not set|no consent|unknown",
            "no suscrito|no suscrita|nunca suscrito|non abonne|nicht abonniert|nao inscrito|non iscritto",
        ),
        NEVER_ASKED,
    ),
}


def classify(text: str) -> str | None:
    """Return WANTS_MAIL, or why a person in this state is not imported; None for an unknown word."""
    return STATUS_WORDS.get(text_matching.normalize(text)) if text.strip() else WANTS_MAIL
