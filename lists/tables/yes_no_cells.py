"""Yes-no cells: whether a cell in which people agree to something is a yes, a no, empty or unknown.

Only a known yes is a yes. The lists below are what people type and what programs write: spreadsheets (TRUE in
the language of the program), databases (t, f), and forms, whose cell is the whole text of the option that was
ticked (support.google.com/docs/answer/6281888; support.microsoft.com, “Check and share your form results”). A
text that is not listed is unknown, and staff must decide.
"""

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import Literal

from lists.tables import text_matching

CellAnswer = Literal["yes", "no", "nothing", "unknown"]


def _split_phrases(*lines: str) -> frozenset[str]:
    return frozenset(phrase.strip() for line in lines for phrase in line.split("|"))


YES = _split_phrases(
    "yes|y|yep|yeah|true|t|1|1 0|on|x",
    "agree|agreed|i agree|accept|accepted|i accept|consent|consented|i consent",
    "opt in|opted in|optin|granted|checked|ticked|yes please|yes i agree|sure",
    "si|s|verdadero|cierto|acepto|si acepto|aceptado|acepta|de acuerdo|estoy de acuerdo|si estoy de acuerdo",
    "conforme|autorizo|si autorizo|doy mi consentimiento|consiento|claro",
    "oui|vrai|j accepte|d accord|je suis d accord",
    "ja|wahr|einverstanden|ich stimme zu|zugestimmt",
    "sim|verdadeiro|aceito|concordo|de acordo",
    "vero|accetto|acconsento|sono d accordo",
    "waar|akkoord|wi|dako|tak|prawda|da|da soglasen",
)
# A no that is only the contrary of a yes, as in a box.
PLAIN_NO = _split_phrases(
    "no|n|nope|nah|false|f|0|0 0|00|off|unchecked|unticked|contactable",
    "falso|faux|falsch|nein|non|nao|nee|onwaar|nie|falsz|net|nyet|nej",
)
NO = PLAIN_NO | _split_phrases(
    "never|not|decline|declined|disagree|i disagree|refuse|refused|denied|deny|rejected|opt out|opted out",
    "optout|do not|dont|don t|i do not|i dont|i don t|i do not agree|i dont agree|i don t agree|not agreed",
    "i do not consent|i do not accept|i dont accept|not now|no thanks|no thank you|unsubscribed|unsubscribe",
    "nunca|no acepto|no acepta|no estoy de acuerdo|no autorizo|no doy mi consentimiento|no quiero|no gracias",
    "en desacuerdo|rechazo|rechazado|je n accepte pas|je ne suis pas d accord|pas d accord|je refuse",
    "nicht einverstanden|ich stimme nicht zu|abgelehnt|nao aceito|nao concordo|nunca|rifiuto|non accetto",
    "non acconsento|niet akkoord",
)
NO_ANSWER = _split_phrases("|n a|na|none|null|nil|nothing|ninguno|ninguna|nada|empty|blank|undefined|nan")
DASHES = frozenset("-–—−.·")
TICKS = frozenset("✓✔☑✅🗸🗹")
CROSSES = frozenset("✗✘❌✖❎🗙☒")
EMPTY_BOXES = frozenset("☐⬜◻□❏❑⬛◼")
BOXES = {"[x]": "yes", "(x)": "yes", "[]": "no", "()": "no"}
# Variation selectors and invisible spaces.
INVISIBLE_SIGNS = dict.fromkeys(map(ord, "\ufe0e\ufe0f\u200b\u2060\ufeff"))
SURROUNDING_SIGNS = " \t\r\n\u00a0.,;:!'\"’”“*"  # do not change the meaning of a word between them
PLAIN_SIGNS = TICKS | frozenset(" ',’-_.\t\r\n\u00a0")
UNCERTAIN_SIGNS = CROSSES | EMPTY_BOXES | frozenset("?¿")

# Beginnings of sentences that express agreement. “Si” without its accent is also “if”.
AGREEMENT = re.compile(
    r"(yes\b|sí\b|si,|i (agree|accept|consent|authori[sz]e)\b|i (want|would like) to (receive|get|join"
    r"|hear|subscribe)\b|(yo )?(acepto|autorizo|consiento)\b|(estoy )?de acuerdo\b|doy mi (consentimiento"
    r"|permiso)\b|(quiero|deseo) (recibir|unirme|suscribirme|participar)\b)",
    re.IGNORECASE,
)
# A sentence with one of these words may mean the contrary, or a conditional yes.
DOUBT_WORDS = frozenset(
    """no not non none nope nor neither never cannot cant dont doesnt didnt wont wouldnt shouldnt isnt
    arent wasnt havent hasnt nothing nobody zero without unless except but if only maybe perhaps
    later until depends however decline declines declined deny denied refuse refuses refused
    disagree reject rejected stop cease leave out off remove removed delete deleted unsubscribe
    unsubscribed against instead rather less fewer nunca jamas ni nadie nada cero tampoco sin
    excepto salvo pero si solo solamente unicamente quizas quiza tal despues rechazo rechaza
    cancelar baja salir dejar fuera menos ne n pas jamais sans sauf mais nicht nie kein keine keinen
    ohne aber nur nein nao nem sem mas senza mai ma niet geen""".split()  # noqa: SIM905
)
CONTRACTION = re.compile(r"n t\b")  # “don’t” without its apostrophe


def parse_answer(text: str, *, yes_means: Collection[str] = frozenset()) -> CellAnswer:
    """Return the answer in a cell; `yes_means` are texts, normalized by `headings`, that count as yes."""
    return "yes" if yes_means and text_matching.normalize(text) in yes_means else _parse_answer(text)


def parse_boolean(text: str) -> CellAnswer:
    """Return the answer in a box where a yes is a refusal: a no must be only the contrary of a yes."""
    answer = _parse_answer(text)
    if answer != "no":
        return answer
    signs = text.translate(INVISIBLE_SIGNS).strip()
    is_plain_no = text_matching.normalize(text) in PLAIN_NO or signs in BOXES or EMPTY_BOXES.issuperset(signs)
    return "no" if is_plain_no else "unknown"


@lru_cache(maxsize=text_matching.CACHE_SIZE)
def _parse_answer(text: str) -> CellAnswer:
    signs = text.translate(INVISIBLE_SIGNS).strip()
    words = text_matching.normalize(signs)
    if not words:
        return _parse_signs("".join(signs.split()))
    core = signs.strip(SURROUNDING_SIGNS)
    answer: CellAnswer = "no" if words in NO else "nothing" if words in NO_ANSWER else "unknown"
    if answer == "unknown" and (words in YES or _is_agreement(core, words)):
        answer = "yes"
    if signs.casefold() in BOXES:
        return "yes"
    # “☐ Yes” is an empty box beside a yes, “-1” is not 1, “yes?” is not yes, and “¹” is a footnote sign.
    has_odd_sign = any(
        sign in UNCERTAIN_SIGNS or (words in YES and sign not in PLAIN_SIGNS)
        for sign in core
        if not sign.isalnum()
    )
    is_unsure = (
        has_odd_sign
        or signs.startswith(("!", "-"))
        or unicodedata.normalize("NFKC", core) != _compose_unicode(core)
    )
    return "unknown" if answer == "yes" and is_unsure else answer


def has_doubt_word(text: str) -> bool:
    """Return whether a text contains a word that may negate a yes; no hint offers to declare it a yes."""
    words = text_matching.normalize(text)
    return CONTRACTION.search(words) is not None or not DOUBT_WORDS.isdisjoint(words.split())


def _parse_signs(signs: str) -> CellAnswer:
    """Return the answer in a cell without any letter or digit."""
    if DASHES.issuperset(signs):
        return "nothing"  # also for an empty cell
    if signs in BOXES:
        return "no"
    if TICKS.issuperset(signs):
        return "yes"
    return "no" if (CROSSES | EMPTY_BOXES).issuperset(signs) else "unknown"


def _is_agreement(core: str, words: str) -> bool:
    """Return whether a sentence begins with an agreement and contains no word that could negate it."""
    match = AGREEMENT.match(" ".join(_compose_unicode(core).split()))
    if match is None or CONTRACTION.search(words):
        return False
    rest = text_matching.normalize(" ".join(_compose_unicode(core).split())[match.end() :])
    return DOUBT_WORDS.isdisjoint(rest.split())


def _compose_unicode(text: str) -> str:
    return unicodedata.normalize("NFC", text)
