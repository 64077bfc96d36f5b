"""Answers: whether a cell in which people agree to something says yes, no, or nothing that is known.

Only a known yes is a yes. What is listed here is what people type and what programs write: spreadsheets
(TRUE in the language of the program), databases (t, f), and forms, whose cell is the whole text of the option
that was ticked (support.google.com/docs/answer/6281888; support.microsoft.com, “Check and share your form
results”). Everything that is not listed is no answer, and whoever reads it must ask.
"""

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import Literal

from lists.tables import headings

CellAnswer = Literal["yes", "no", "nothing", "unknown"]


def _split_phrases(*lines: str) -> frozenset[str]:
    return frozenset(each.strip() for line in lines for each in line.split("|"))


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
# A no that is no more than the contrary of a yes, as a box has it.
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
INVISIBLE_SIGNS = dict.fromkeys(
    map(ord, "\ufe0e\ufe0f\u200b\u2060\ufeff")
)  # variation selectors, invisible spaces
SURROUNDING_SIGNS = " \t\r\n\u00a0.,;:!'\"’”“*"  # what may stand beside a word without changing what it says
PLAIN_SIGNS = TICKS | frozenset(" ',’-_.\t\r\n\u00a0")
UNCERTAIN_SIGNS = CROSSES | EMPTY_BOXES | frozenset("?¿")

# How the sentence of an option begins with which somebody agrees. “Si” without its accent is also “if”.
AGREEMENT = re.compile(
    r"(yes\b|sí\b|si,|i (agree|accept|consent|authori[sz]e)\b|i (want|would like) to (receive|get|join"
    r"|hear|subscribe)\b|(yo )?(acepto|autorizo|consiento)\b|(estoy )?de acuerdo\b|doy mi (consentimiento"
    r"|permiso)\b|(quiero|deseo) (recibir|unirme|suscribirme|participar)\b)",
    re.IGNORECASE,
)
# With one of these words a sentence may say the contrary, or a yes that holds only sometimes.
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
CONTRACTION = re.compile(r"n t\b")  # “don’t”, once its sign is gone


def parse_answer(text: str, *, yes_means: Collection[str] = frozenset()) -> CellAnswer:
    """Return what a cell says; `yes_means` are texts, normalized by `headings`, that count as yes."""
    return "yes" if yes_means and headings.normalize(text) in yes_means else _parse_answer(text)


def parse_boolean(text: str) -> CellAnswer:
    """Return what a box says where a yes is a refusal: a no must be no more than the contrary of a yes."""
    said = _parse_answer(text)
    if said != "no":
        return said
    signs = text.translate(INVISIBLE_SIGNS).strip()
    plainly = headings.normalize(text) in PLAIN_NO or signs in BOXES or EMPTY_BOXES.issuperset(signs)
    return "no" if plainly else "unknown"


@lru_cache(maxsize=headings.CACHE_SIZE)
def _parse_answer(text: str) -> CellAnswer:
    signs = text.translate(INVISIBLE_SIGNS).strip()
    words = headings.normalize(signs)
    if not words:
        return _parse_signs("".join(signs.split()))
    core = signs.strip(SURROUNDING_SIGNS)
    said: CellAnswer = "no" if words in NO else "nothing" if words in NO_ANSWER else "unknown"
    if said == "unknown" and (words in YES or _is_agreement(core, words)):
        said = "yes"
    if signs.casefold() in BOXES:
        return "yes"
    # “☐ Yes” is a box beside a yes, “-1” no 1, “yes?” no yes, and “¹” is a note and no 1.
    odd = any(
        sign in UNCERTAIN_SIGNS or (words in YES and sign not in PLAIN_SIGNS)
        for sign in core
        if not sign.isalnum()
    )
    unsure = (
        odd or signs.startswith(("!", "-")) or unicodedata.normalize("NFKC", core) != _compose_unicode(core)
    )
    return "unknown" if said == "yes" and unsure else said


def has_doubt_word(text: str) -> bool:
    """Tell whether a text holds a word that may turn a yes around: nobody is led to declare it a yes."""
    words = headings.normalize(text)
    return CONTRACTION.search(words) is not None or not DOUBT_WORDS.isdisjoint(words.split())


def _parse_signs(signs: str) -> CellAnswer:
    """Return what a cell without any letter or digit says."""
    if DASHES.issuperset(signs):
        return "nothing"  # so that of a cell with nothing in it, too
    if signs in BOXES:
        return "no"
    if TICKS.issuperset(signs):
        return "yes"
    return "no" if (CROSSES | EMPTY_BOXES).issuperset(signs) else "unknown"


def _is_agreement(core: str, words: str) -> bool:
    """Tell whether a sentence begins as an agreement does, and says nothing that could turn it around."""
    begun = AGREEMENT.match(" ".join(_compose_unicode(core).split()))
    if begun is None or CONTRACTION.search(words):
        return False
    rest = headings.normalize(" ".join(_compose_unicode(core).split())[begun.end() :])
    return DOUBT_WORDS.isdisjoint(rest.split())


def _compose_unicode(text: str) -> str:
    return unicodedata.normalize("NFC", text)
