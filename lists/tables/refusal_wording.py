"""Refusal wording: whether a heading, or the cells under it, may say who wants no mail.

It is applied to columns without a known meaning. A false match is better than a miss: staff answer one
question about the column, while a miss would send mail to a person who had left elsewhere. Words of several
languages are searched, each as a whole or as the start of one, so that “household” is no “hold”.
"""

import re
from collections.abc import Collection
from functools import lru_cache

from lists.tables import text_matching
from lists.tables.mail_statuses import STATUS_WORDS, WANTS_MAIL

# Parts of words that occur in no harmless heading, at any position: “HASOPTEDOUTOFEMAIL” is one word.
HEADING_PARTS = (
    r"unsub|subscri|suscri|desub|opt ?(ed)? ?(out|in)\b|opt(ed)?(out|in)|donot(?!e)|donotemail|dontmail"
    r"|dontemail|dontcontact|noemail|nobulk|nomail|no ?bulk|bla(ck|c) ?list|block ?list|bounc(e|ing)"
    r"|suppress|complain|emaildisabled|email ?inactive|undeliver|unreach|mailable|contactable|consent"
    r"|konsent|permission|desabon|desinscri|abgemeld|abmeld|abbestell|ausgetragen|descadastr"
    r"|disiscri|uitgeschr|afgemeld|avregistr|avanmal|afmeld|avmeld|wypisan|dezabon|rebot(e|ad)|rimbalz"
    r"|unzustell|einwillig|zustimmung|widerruf|widerspr|toestemming|samtyk|samtyc|zgod[ay]|soglasi"
    r"|autoriz|inscri|iscri(t|z)|abonn|liste ?noire|lista ?(negra|nera)|whitelist|отпис|подпис|согласи"
    r"|відпис|підпис|згод"
    r"|molest|gelosch|supprim|rejet|verstorben|gestorben|fallec|falec|deced|churn"
    r"|퇴회|수신 ?거부|구독|동의"
    r"|退订|退訂|取消订阅|取消訂閱|订阅|訂閱|同意|黑名单|黑名單|配信停止|購読|退会|إلغاء|موافق"
)
# Whole words.
HEADING_WORDS = (
    r"(do|does|did|should|must|please) not|dont|don t|never|optout|optin|onhold|hold|held|spam|junk|dnc"
    r"|dne|gdpr|rgpd|dsgvo|lgpd|ccpa|tcpa|status|\w+status|estatus|estado de (la )?(su|sub)\w*|statut"
    r"|state of (email|mail)\w*|blocked|banned|barred|excluded?|removed|deleted|cancel(l?ed"
    r"|lation)?( date| on| at| reason)?|withdrawn|withdrew|revoked|stop(ped)?|quit|disabled|deactivated"
    r"|inactive|isinactive|suspended|paused|muted|silenced|invalid|unconfirmed|confirmed|unverified"
    r"|verified|declined?|refused?|refusals?|objects?|objected|objection|left|leave|agree(d|s|ment)?"
    r"|accepts?|accepted|newsletters?|boletin(es)?|mailing ?lists?|lista de correo|bulletin|rundbrief"
    r"|(can|may|ok|okay|allow(ed)?|wants?|wishes|receives?|receive|gets?|send|sends|likes?) (we |you |us "
    r"|to |our |the )*(receive |get |send |be )?(e ?mails?|mails?|contact(ed)?|updates?|news|information"
    r"|messages?)|(e ?mail|mail|contact|communication|marketing) (preferences?|opt\w*|marketing|ok"
    r"|allowed|consent|yes no)|(marketing|promotional|promotions?) ?(e ?mails?)?|no (more "
    r"|longer )*(e ?mails?|mail|contact|bulk|communications?|messages?)\b(?! (no|number))|(is |are "
    r"|currently |still )*(active|enabled|activ[oa]s?|actif|active|aktiv|ativ[oa]|attiv[oa]|actief"
    r"|aktywny)( (e ?mail|subscribers?|contact|member|user|account))?$|(e ?mail|subscriber|contact|member"
    r"|user|account|is)(active|enabled)|isactive|inactiv[oa]s?|inativ[oa]|inaktiv|inattiv[oa]"
    r"|baja(?! california)|bajas|no (contactar|enviar|escribir|desea|quiere|recibir|correos?|mas)"
    r"|cancelad[oa]s?|bloquead[oa]s?|suprimid[oa]s?|excluid[oa]s?|eliminad[oa]s?|retirad[oa]s?|rechaz\w*"
    r"|quejas?|acepta\w*|acepto|de acuerdo|permisos?|permite|recibir|quiere recibir|desea recibir"
    r"|confirmad[oa]s?|pausad[oa]s?|ne pas|refus\w*|oppos\w*|plaintes?|bloque(e?s?)|resili\w*|accord"
    r"|accepte\w*|permesso|consenso|nicht|kein\w*|gesperrt|sperr\w*|beschwerde\w*|angemeldet|gekundigt"
    r"|einverstanden|erlaubnis|nao|situacao|devolvid\w*|reclam\w*|aceit\w*|concord\w*|non contattare"
    r"|annullat\w*|cancellat\w*|bloccat\w*|disdett\w*|reclami?|niet|geen|geblokkeerd|nie|статус|状态|狀態|상태"
    r"|해지|huy dang ky|dong y|en espera|en attente|in attesa|saiu( em)?|salio|saida"
    r"|lost( on| at| date)?|lapsed"
    r"|resign\w*|dead|died|passed away|(mail|mailing|newsletter|subscription|message) preferences?"
    r"|verification|validation|deliverab\w*|verdict|reciben?|recoit|riceve|recebe|erhalt|noticias"
    r"|quieren? (noticias|correos?|mails?|boletin\w*|informacion)"
)
HEADING = re.compile(rf"{HEADING_PARTS}|\b({HEADING_WORDS})\b")

# Headings with such a word concern another channel, unless they contain a word for mail as well.
OTHER_CHANNELS = re.compile(
    r"\b(sms|mms|text|texts|phone|phones|telephone|call|calls|fax|whatsapp|telefono|llamar"
    r"|llamadas?|celular|movil|mobile|telefon|anrufe?)\b|^do not (sms|call|text|phone)"
)
MAIL_CHANNEL = re.compile(
    r"e ?mail|\bmail|correo|courriel|newsletter|boletin|contact\b|\ball\b|\bany\b|communicat"
)
OTHER_STATUS = re.compile(
    r"^(job|lead|work|employment|marital|civil|payment|order|donation|pledge|rsvp|ticket|voter|citizenship"
    r"|visa|veteran|housing|relationship|student|school|health|insurance|tax|shipping|invoice|billing"
    r"|case|delivery date|background check|background|training|family|household|parental|immigration"
    r"|residency|smoking|vaccination) status$|^status (job|of job|of employment)$|^(hand"
    r"|left) ?hand(ed)?$|^last active( at| on)?$|^(date|day|time) left$|^opt ?in ip$|^subscriber ?(id"
    r"|number|no|key|hash|uuid)$"
)
MAIL_WORDS = frozenset({"mail", "email", "mails", "emails", "correo", "correos", "courriel"})
ONLY_MAIL = MAIL_WORDS | {
    "e",
    "by",
    "via",
    "por",
    "par",
    "per",
    "to",
    "us",
    "me",
    "you",
    "electronico",
    "updates",
}
# Phrases that refuse mail anywhere in a cell.
CELL_PHRASES = re.compile(
    r"\bunsub\w*|\b(opt|opted|opting) ?out\b|\boptout\b|\b(do|does|did) ?not ?(e ?mail|contact|mail|send"
    r"|write|want (e ?mails?|mail))|\bdont (e ?mail|contact|mail|send|write)|\bdon t (e ?mail|contact"
    r"|mail|send|write)|\bno (more )?(e ?mails?|correos?|contactar|enviar|escribir)\b|\b(stop|remove from"
    r"|take off) (e ?mails?|e ?mailing|list)|\b(black|block) ?list\w*|\bbounced\b|\bbouncing\b|\b(hard"
    r"|soft) ?bounces?\b|\bsuppressed\b|\bspam complain\w*|\b(marked|reported) (as |it as )?spam"
    r"|\bnon ?subscri\w*|\bnot subscribed|\bdesus?c?subscri\w*|\bdesuscri\w*|\bdad[oa]s? de baja"
    r"|\bse dio de baja|\bdarse de baja|\brebotad[oa]s?\b|\bdesabonn\w*|\bdesinscri\w*|\babgemeldet\b"
    r"|\bdescadastr\w*|\bdisiscri\w*|\buitgeschreven\b|\bafgemeld\b|отписа|відписа"
    r"|\b(take|taken|took|taking) (me |us |him |her |them )?off\b"
    r"|\boff (the|our|your) (e ?mail|mailing)? ?list"
    r"|\bno longer wants?\b|\b(does not|doesn t) want\b|\basked (us )?to stop\b|\bplease stop\b"
    r"|\bya no (quieren?|desean?)\b|\bno (quieren?|desean?) (recibir|correos?|mails?|mas)\b"
    r"|\b(pidio|pide|solicito|solicita) (la )?baja\b|\bquitar de la lista\b|\bno molestar\b"
    r"|\bne (veut|souhaite) plus\b|\bnao (quer|deseja) (mais|receber)\b"
    r"|退订|退訂|取消订阅|配信停止|수신 ?거부"
)
CELL_HINT = re.compile(
    r"unsub|opt|not|n.?t |no |não |stop|remove|take|taking|took|\boff |quitar|\bne "
    r"|black|block|bounc|suppress|spam|subscri|suscri|baja"
    r"|rebot|abon|inscri|gemeld|cadastr|iscri|geschr|отпис|відпис|退|取消|停止|수신",
    re.IGNORECASE,
)
# Under these headings a cell that is a state by itself refuses mail, too.
GROUP_HEADING = re.compile(
    r"\b(types?|estados?|states?|stato|etat|zustand|segments?|segmentos?|tags?|etiquetas?|lists?|listas?"
    r"|groups?|grupos?|categor\w*|stages?|labels?|membership|memberships|kind|class|list membership"
    r"|audience|situation|situacion|situacao|standing|condition|disposition|result|resultado|outcome"
    r"|remarks?)\b"
)
# States with other meanings, so that they count in columns of states only.
AMBIGUOUS_STATES = frozenset(
    {
        "no",
        "false",
        "left",
        "non",
        "nein",
        "nao",
        "falso",
        "manual",
        "unknown",
        "not set",
        "waiting",
        "requested",
        "invited",
        "limpo",
        "pulito",
        "resigned",
        "explicit",
        "deceased",
        "junk",
        "bad",
        "lost",
        "expired",
        "unqualified",
        "disqualified",
    }
)  # fmt: skip
REFUSING_STATES = (
    frozenset(word for word, why in STATUS_WORDS.items() if why != WANTS_MAIL) - AMBIGUOUS_STATES
)
# These refuse mail under any heading, as the whole of a cell.
MAIL_STATES = REFUSING_STATES & frozenset(
    {
        "cleaned",
        "bounced",
        "bouncing",
        "bounce",
        "hard bounce",
        "soft bounce",
        "hardbounce",
        "softbounce",
        "undeliverable",
        "unreachable",
        "unsubscribe",
        "unsub",
        "optout",
        "dnc",
        "complained",
        "spam complaint",
        "blocklisted",
        "blacklisted",
        "nonsubscribed",
        "non subscribed",
        "baja",
        "de baja",
        "rebotado",
        "rebotada",
        "rebote",
        "limpiado",
        "bereinigt",
        "unzustellbar",
        "no contactar",
    }
)  # fmt: skip
MAX_LIST_LENGTH = 200  # characters of a cell whose parts are examined one by one
CELL_SEPARATOR = re.compile(r"[,;|/\n]")
# Words in a file's name that say that its people refuse mail; longer words only, to avoid false matches.
FILE_NAME_WORDS = re.compile(
    r"\b(unsub\w*|non ?subscribed|cleaned|bounced|bounces|suppress\w*|block ?list\w*|black ?list\w*"
    r"|opt(ed)? ?outs?|optouts?|complaints?|spam reports?|do not (e ?mail|contact|mail)|dnc"
    r"|invalid emails|desus?cri\w*|dados de baja|bajas|rebotad[oa]s|rebotes|cancelad[oa]s|desabonn\w*"
    r"|desinscri\w*|abgemeldet\w*|descadastr\w*|disiscri\w*)\b"
)


@lru_cache(maxsize=1_000)
def matches_heading(name: str) -> bool:
    """Return whether a heading may say who wants no mail, or who wants some."""
    words = text_matching.normalize(name)
    if OTHER_STATUS.search(words) or is_other_channel(name):
        return False
    return bool(HEADING.search(words) or HEADING.search(text_matching.normalize(name.casefold())))


def is_mail_heading(name: str) -> bool:
    """Return whether a heading is only a word for mail, as “Mail?” and “By email” are."""
    words = text_matching.normalize(name).split()
    return ONLY_MAIL.issuperset(words) and not MAIL_WORDS.isdisjoint(words)


def is_other_channel(name: str) -> bool:
    """Return whether a heading concerns text messages, calls or faxes, and not mail as well."""
    words = text_matching.normalize(name)
    return bool(OTHER_CHANNELS.search(words)) and not MAIL_CHANNEL.search(words)


def matches_text(text: str) -> bool:
    """Return whether a text says that a person left, bounces or wants no mail: “Ana (do not email)”."""
    return bool(CELL_HINT.search(text)) and bool(CELL_PHRASES.search(text_matching.normalize(text)))


@lru_cache(maxsize=text_matching.CACHE_SIZE)
def matches_cell(text: str, *, group: bool) -> bool:
    """Return whether a cell says that a person refuses mail; under a `group` heading single words do, too."""
    if matches_text(text):
        return True
    words = REFUSING_STATES if group else MAIL_STATES
    return len(text) <= MAX_LIST_LENGTH and any(
        text_matching.normalize(part) in words for part in CELL_SEPARATOR.split(text)
    )


def is_group_heading(name: str) -> bool:
    """Return whether a column puts people into groups, by its heading; one without a heading may."""
    return not name.strip() or GROUP_HEADING.search(text_matching.normalize(name)) is not None


def find_in_file_name(name: str) -> str:
    """Return the words of a file's name that say that its people want no mail, or ""."""
    match = FILE_NAME_WORDS.search(text_matching.normalize(name.rpartition(".")[0] or name))
    return match.group() if match else ""


def is_state_column(texts: Collection[str]) -> bool:
    """Return whether these are all the cells of a column of states, at least one of which refuses mail."""
    words = {text_matching.normalize(text) for text in texts}
    return words <= STATUS_WORDS.keys() and not REFUSING_STATES.isdisjoint(words)
