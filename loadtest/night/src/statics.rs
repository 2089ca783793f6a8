//! Files of the site that never change: scripts, styles, pages, images, fonts and catalogues, filled with invented
//! text or noise that compresses as such files do.

use crate::names;
use crate::prng::{Domain, Stream};
use crate::zipfile::Entry;

/// Kind of an unchanging file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Script,
    Style,
    Page,
    Drawing,
    Picture,
    Font,
    Catalogue,
}

const WORDS: [&str; 32] = [
    "acta", "voto", "corte", "mapa", "nodo", "lista", "tabla", "total", "clave", "panel", "vista", "color", "barra",
    "texto", "fecha", "orden", "grupo", "ruta", "marca", "valor", "estado", "campo", "ancho", "menu", "filtro", "capa",
    "hoja", "serie", "punto", "linea", "zona", "carga",
];

/// An unchanging file, not yet written.
pub(crate) struct Static {
    path: String,
    kind: Kind,
    number: usize,
    size: usize,
}

impl Static {
    /// The files for these sizes; `catalogues` of them, evenly spread, are JSON.
    pub(crate) fn plan(sizes: &[usize], catalogues: usize) -> Vec<Self> {
        let mut made = 0;
        let kind_of = |(number, size): (usize, &usize)| {
            let due = (2 * made + 1) * sizes.len() / (2 * catalogues.max(1));
            let catalogue = made < catalogues && number >= due;
            made += usize::from(catalogue);
            let kind = if catalogue { Kind::Catalogue } else { usual(number, *size) };
            Self { path: path(kind, number), kind, number, size: *size }
        };
        sizes.iter().enumerate().map(kind_of).collect()
    }

    /// Writes the file.
    pub(crate) fn entry(&self, seed: u64) -> Entry {
        let mut stream = Stream::new(seed, Domain::Static, self.number, 0);
        let mut out = Vec::with_capacity(self.size + 96);
        let [head, tail] = frame(self.kind);
        out.extend_from_slice(head);
        let room = self.size.saturating_sub(tail.len());
        if matches!(self.kind, Kind::Picture | Kind::Font) {
            let from = out.len();
            out.resize(room.max(from), 0);
            stream.fill(out.get_mut(from..).unwrap_or_default());
        } else {
            for line in 0.. {
                if out.len() >= room && line > 0 {
                    break;
                }
                if self.kind == Kind::Catalogue && line > 0 {
                    out.push(b',');
                }
                out.extend(self.line(&mut stream, line).into_bytes());
            }
        }
        out.extend_from_slice(tail);
        Entry::fixed(self.path.clone(), out)
    }

    fn line(&self, stream: &mut Stream, line: usize) -> String {
        let [a, b, c] = [(); 3].map(|()| stream.pick(&WORDS).copied().unwrap_or_default());
        let [x, y, z] = [stream.below(400), stream.below(4_096), stream.below(97)];
        match self.kind {
            Kind::Script => {
                format!("function {a}{y}(e,t){{return void 0===e.{b}?t.{c}({z},e):this.{a}.call(t,{b}.prototype)}}\n")
            }
            Kind::Style => format!(".{a}-{b}-{z}{{margin:{z}px;color:#{y:03x};max-width:{x}px}}\n"),
            Kind::Page => format!("<p>El {a} {b} muestra {x} por {c}, y la {b} {a} {z}.</p>\n"),
            Kind::Drawing => format!("<path d=\"M{x} {z}c{y},{z} {x},{y}z\"/>\n"),
            Kind::Catalogue => {
                format!(
                    "{{\"id\":{line},\"nombre\":\"{}\",\"clave\":\"{x:03}{y:04}\"}}",
                    names::place(y, usize::from(z > 48), line)
                )
            }
            Kind::Picture | Kind::Font => String::new(),
        }
    }
}

/// The kind that files of a size usually are.
fn usual(number: usize, size: usize) -> Kind {
    let kinds: &[Kind] = match size {
        0..1_500 => &[Kind::Drawing, Kind::Picture, Kind::Page, Kind::Script],
        1_500..20_000 => &[Kind::Page, Kind::Script, Kind::Style, Kind::Drawing, Kind::Picture],
        20_000..80_000 => &[Kind::Script, Kind::Font, Kind::Style],
        _ => &[Kind::Script],
    };
    kinds.iter().cycle().nth(number % kinds.len().max(1)).copied().unwrap_or(Kind::Script)
}

fn path(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Script => format!("assets/js/modulo-{number:03}.js"),
        Kind::Style => format!("assets/css/estilo-{number:03}.css"),
        Kind::Page => format!("ayuda/tema-{number:03}.html"),
        Kind::Drawing => format!("assets/img/icono-{number:03}.svg"),
        Kind::Picture => format!("assets/img/foto-{number:03}.png"),
        Kind::Font => format!("assets/fonts/letra-{number:03}.woff2"),
        Kind::Catalogue => format!("assets/JSON/CATALOGOS/catalogo_{number:03}.json"),
    }
}

/// What the file begins and ends with.
fn frame(kind: Kind) -> [&'static [u8]; 2] {
    match kind {
        Kind::Script => [b"\"use strict\";\n", b""],
        Kind::Style => [b"", b""],
        Kind::Page => [b"<!doctype html>\n<html lang=\"es\">\n<title>Ayuda</title>\n", b"</html>\n"],
        Kind::Drawing => [b"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 4096 4096\">\n", b"</svg>\n"],
        Kind::Picture => [b"\x89PNG\r\n\x1a\n", b"IEND\xae\x42\x60\x82"],
        Kind::Font => [b"wOF2", b""],
        Kind::Catalogue => [b"{\"catalogo\":[", b"]}"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_size_and_their_share_of_catalogues() {
        let sizes: Vec<_> = (0..60).map(|k| 90_000 - 1_490 * k).collect();
        let plan = Static::plan(&sizes, 9);
        assert_eq!(plan.iter().filter(|file| file.kind == Kind::Catalogue).count(), 9);
        for file in &plan {
            let length = file.entry(3).bytes.len();
            assert!(length.abs_diff(file.size) <= 120, "{}: {length} for {}", file.path, file.size);
        }
    }

    #[test]
    fn catalogues_are_json() {
        for size in [0, 500] {
            let file = Static { path: String::new(), kind: Kind::Catalogue, number: 1, size };
            serde_json::from_slice::<serde_json::Value>(&file.entry(3).bytes).unwrap();
        }
    }
}
