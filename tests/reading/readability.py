"""Readability: how long and how easy a text is, by the usual formulas for English and for Spanish.

English: the grade of Flesch and Kincaid, 0.39 words/sentence + 11.8 syllables/word - 15.59 (Kincaid and
others, 1975). Spanish: the ease of Fernández Huerta, 206.84 - 60 syllables/word - 1.02 words/sentence
(“Medidas sencillas de lecturabilidad”, Consigna 214, 1959). Libraries that count syllables need a corpus
from the network (textstat) or count where a word may be parted (pyphen), so they are counted here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_WORDS = 250
HIGHEST_GRADE = 8.0
LOWEST_FERNANDEZ_HUERTA = 70.0
SCALES = {"en": "grade", "es": "Fernández Huerta"}

WORD = re.compile(r"[^\W_]+(?:[’'.-][^\W_]+)*")
END = re.compile(r"[.?…]+[”\"»]?(?:\s+|$)")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How long and how easy a text is; `ease` is the grade in English, Fernández Huerta in Spanish."""

    language: str
    words: int
    sentence: float
    syllables: float
    ease: float

    @property
    def scale(self) -> str:
        """The scale of `ease`."""
        return SCALES[self.language]

    @property
    def easy(self) -> bool:
        """Whether it is easy enough for this installation."""
        if self.language == "en":
            return self.ease <= HIGHEST_GRADE
        return self.ease >= LOWEST_FERNANDEZ_HUERTA


# English counts groups of vowels; these words are pronounced irregularly.
ENGLISH = {"every": 2, "being": 2, "else’s": 2, "something": 2, "themselves": 2, "area": 3, "anyone": 3}
ENGLISH |= {"anyone’s": 3, "official": 3, "officials": 3, "synagogue": 3, "california": 4, "ice": 3, "dc": 2}


def english_syllables(word: str) -> int:
    """Return the syllables of an English word, by its vowel groups and its silent endings."""
    word = word.lower()
    if word.isdigit():
        return len(word)
    if word in ENGLISH:
        return ENGLISH[word]
    word = re.sub(r"[’'](?:s|ll|re|ve|d|t|m)$", "", word)
    word = re.sub(r"(?<=[^aeiouytd])ed$|(?<=[aeiouy][^aeiouylrscgzx])es$", "", word)
    word = re.sub(r"(?<=[^aeiouyl])e$|(?<=[aeiouy]l)e$", "", word)
    return max(1, len(re.findall(r"[aeiouy]+", word)) + len(re.findall(r"i[ao](?!us|n)", word)))


def spanish_syllables(word: str) -> int:
    """Return the syllables of a Spanish word: each strong or accented vowel is one, weak ones make one."""
    word = re.sub(r"(?<=q)u|(?<=g)u(?=[eiéí])", "", word.lower())
    if word.isdigit():
        return len(word)
    word = re.sub(r"y(?![aeiouáéíóú])", "i", word)
    groups = re.findall(r"[aeiouáéíóúü]+", word)
    return max(1, sum(max(1, len(re.findall(r"[aeoáéíóú]", group))) for group in groups))


def sentences(parts: Iterable[str]) -> list[list[str]]:
    """Return the words of each sentence; a part ends the sentence that is open at its end."""
    normalized = [re.sub(r"D\. ?C\.", "DC", part) for part in parts]
    word_lists = [WORD.findall(sentence) for part in normalized for sentence in END.split(part)]
    return [sentence for sentence in word_lists if sentence]


def figures(parts: Iterable[str], *, language: str, words: int) -> Figures:
    """Return the measures of a text; `words` is how many a reader sees, labels and names included."""
    word_lists = sentences(parts)
    count = sum(map(len, word_lists))
    syllables = {"en": english_syllables, "es": spanish_syllables}[language]
    per_word = sum(syllables(word) for sentence in word_lists for word in sentence) / count
    per_sentence = count / len(word_lists)
    if language == "en":
        ease = 0.39 * per_sentence + 11.8 * per_word - 15.59
    else:
        ease = 206.84 - 60 * per_word - 1.02 * per_sentence
    return Figures(language=language, words=words, sentence=per_sentence, syllables=per_word, ease=ease)
