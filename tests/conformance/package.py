"""The site that all servers serve: a package for the mesh, and the same files in a folder for the others.

Every byte follows from this file, so whoever checks an answer asks FILES what it has to be. Names and sizes are chosen
for what servers get wrong: spaces, letters beyond ASCII, characters that mean something in an address, no bytes at all.
"""

import json
import os
import random
import struct
import zipfile
import zlib
from urllib.parse import quote

LABEL = "20240602_2000"
# The cut that comes while a page loads.
NEXT = "20240602_2015"

STYLE = "assets/estilo.1f2e3d4c5b6a7988.css"
SCRIPT = "assets/app.0a1b2c3d4e5f6a7b.js"
LOGO = "assets/logo.deadbeefdeadbe01.png"
MAP = "imágenes/mapa cañada.svg"
TOTALS = "datos/nacional.json"
TABLE = "datos/casillas.json"
NOISE = "datos/azar.bin"
DIGITS = "datos/cifras.txt"
EMPTY = "datos/vacio.txt"
PAGE = "publicacion/estados/nl/index.html"
ACT = "publicacion/acta de cómputo ñ.txt"
SIGNS = "publicacion/a+b&c=d;e,f@g.txt"
PERCENT = "publicacion/100%.txt"


def address(name):
    """The path under which a client asks for a file."""
    return "/" + quote(name, safe="/")


def _png(width, height):
    """A picture in one colour (RFC 2083)."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x5a\x1f\x4d" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def _rows(chance):
    """About a megabyte of JSON."""
    return [
        {"casilla": f"{seccion:04}-B{tipo}", "votos": [chance.randrange(400) for _ in range(8)], "acta": "contabilizada"}
        for seccion in range(1, 4001)
        for tipo in (1, 2, 3)
    ]


def _files():
    chance = random.Random(2024)
    index = f"""<!doctype html>
<html lang="es">
<meta charset="utf-8">
<title>Resultados</title>
<link rel="stylesheet" href="{STYLE}">
<h1>Resultados <img src="{LOGO}" alt="logo" width="32" height="32"></h1>
<p id="estado">cargando</p>
<img src="{address(MAP)[1:]}" alt="mapa" width="320" height="120">
<p><a href="publicacion/estados/nl/">Nuevo León</a></p>
<script src="{SCRIPT}"></script>
"""
    script = f"""'use strict';
(async () => {{
  const read = async (path) => (await fetch(path)).json();
  const [totals, table] = await Promise.all([read('{TOTALS}'), read('{TABLE}')]);
  document.getElementById('estado').textContent =
    `${{totals.actas}} actas, ${{table.length}} casillas`;
}})();
"""
    page = """<!doctype html>
<html lang="es">
<meta charset="utf-8">
<title>Nuevo León</title>
<p><a href="../../../">México</a></p>
"""
    drawing = """<svg xmlns="http://www.w3.org/2000/svg" width="320" height="120">
<rect width="320" height="120" fill="#eee"/><path d="M20 100 Q 160 -40 300 100 Z" fill="#5a1f4d"/></svg>
"""
    return {
        "index.html": index.encode(),
        STYLE: b"body { font-family: sans-serif; margin: 2rem }\nh1 { color: #5a1f4d }\n#estado { font-size: 2rem }\n",
        SCRIPT: script.encode(),
        LOGO: _png(32, 32),
        MAP: drawing.encode(),
        TOTALS: json.dumps({"actas": 163666, "corte": LABEL}).encode(),
        TABLE: json.dumps(_rows(chance)).encode(),
        NOISE: chance.randbytes(3_000_000),
        DIGITS: "".join(f"{number:04}\n" for number in range(200)).encode(),
        EMPTY: b"",
        PAGE: page.encode(),
        ACT: "Acta de cómputo: ñandú.\n".encode(),
        SIGNS: b"signos\n",
        PERCENT: b"cien\n",
    }


FILES = _files()


def _next():
    """The files of the next cut: other results, another page, and a style and a script under other names."""
    renamed = {STYLE: "assets/estilo.2f2e3d4c5b6a7988.css", SCRIPT: "assets/app.1a1b2c3d4e5f6a7b.js"}
    files = {renamed.get(name, name): content for name, content in FILES.items()}
    index = files["index.html"].decode()
    for old, new in renamed.items():
        index = index.replace(old, new)
    files["index.html"] = index.encode()
    files[TOTALS] = json.dumps({"actas": 171717, "corte": NEXT}).encode()
    files[TABLE] = json.dumps(_rows(random.Random(2025))).encode()
    return files


def _zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 6, 2, 20, 0, 0)), content, zipfile.ZIP_DEFLATED)


def write(folder):
    """Writes the files into a folder, their package into `packages`, and the next package beside it."""
    for name, content in FILES.items():
        path = os.path.join(folder, "files", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    packages = os.path.join(folder, "packages")
    os.makedirs(packages)
    _zip(os.path.join(packages, f"{LABEL}_PREP.zip"), FILES)
    _zip(os.path.join(folder, f"{NEXT}_PREP.zip"), _next())


if __name__ == "__main__":
    import sys

    write(sys.argv[1])
