"""What other languages call a password: the patterns of `context.py` know the English names alone."""

import re

import re2

# What other languages call a password, and an English name of the same length.
_FOREIGN = {
    "mot de passe": "____password",
    "contrase\u00f1a": "__password",
    "contrasena": "__password",
    "wachtwoord": "__password",
    "adgangskode": "___password",
    "l\u00f6senord": "password",
    "salasana": "password",
    "senha": "_pass",
    "has\u0142o": "_pass",
    "heslo": "_pass",
    "\u015fifre": "_pass",
    "\u043f\u0430\u0440\u043e\u043b\u044c": "passwd",
    "\u30d1\u30b9\u30ef\u30fc\u30c9": "_pass",
    "\ube44\ubc00\ubc88\ud638": "pass",
    "\u5bc6\u7801": "pw",
    "\u5bc6\u78bc": "pw",
    "\u53e3\u4ee4": "pw",
}
_WORD = re.compile("|".join(_FOREIGN), re.IGNORECASE)
_ANY = re2.compile(f"(?i){'|'.join(_FOREIGN)}".encode())  # tells at once that a text has none, as most have


def in_english(text: str) -> str:
    """`text` with the names of passwords in English, and not a character longer or shorter."""
    lower = text.lower()
    if not any(
        word in lower for word in _FOREIGN
    ):  # ten times as fast as the pattern, and most texts have none
        return text
    return _WORD.sub(lambda word: _FOREIGN.get(word[0].lower(), word[0]), text)
