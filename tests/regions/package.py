"""The cuts: every byte follows from the number of the cut and the name of the file, so whoever checks an answer can say what
it has to be."""

import functools
import hashlib
import json
import random
import zipfile

PAGE = "index.html"
TOTALS = "datos/nacional.json"
TABLE = "datos/casillas.json"
STATES = [f"datos/estado-{number:02}.json" for number in range(1, 13)]
LOGO = "assets/logo.deadbeefdeadbe01.png"
NAMES = [PAGE, TOTALS, TABLE, LOGO, *STATES]
ASKED = [PAGE, TOTALS, *STATES[:4]]
"""What visitors ask for."""


def content(cut, name):
    """The bytes of a file in a cut."""
    if name == LOGO:
        return random.Random(name).randbytes(20_000)
    dice = random.Random(f"{cut}/{name}")
    if name == PAGE:
        return f"<!doctype html><html lang=\"es\"><title>Corte {cut}</title><p>Corte {cut}, {dice.random()}\n".encode()
    rows = 30 if name == TOTALS else 6000 if name == TABLE else 300
    votes = [[dice.randrange(400) for _ in range(8)] for _ in range(rows)]
    return json.dumps({"corte": cut, "votos": votes}).encode()


@functools.lru_cache(maxsize=4096)
def digest(cut, name):
    """SHA-256 of the same."""
    return hashlib.sha256(content(cut, name)).digest()


def write(folder, cut):
    """Writes the package of a cut, and gives its path: one each quarter of an hour."""
    hour, quarter = divmod(cut, 4)
    path = f"{folder}/202406{2 + hour // 24:02}_{hour % 24:02}{quarter * 15:02}_PREP.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.writestr(zipfile.ZipInfo(name, (2024, 6, 2, 20, 0, 0)), content(cut, name), zipfile.ZIP_DEFLATED)
    return path
