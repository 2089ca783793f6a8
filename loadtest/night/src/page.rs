//! The home page: a small real page that shows the current cut, so that a demonstration has something to look at.

use crate::zipfile::Entry;

/// Paths and contents of the page's files.
pub(crate) const FILES: [(&str, &str); 3] = [
    ("index.html", include_str!("site/index.html")),
    ("assets/app.js", include_str!("site/app.js")),
    ("assets/app.css", include_str!("site/app.css")),
];

/// The page's entries; the same at every cut.
pub(crate) fn entries() -> impl Iterator<Item = Entry> {
    FILES.into_iter().map(|(path, text)| Entry::fixed(path.to_owned(), text.as_bytes().to_vec()))
}
