//! Media types by file extension. Only types that sites of results hold; anything else is served as bytes.
//!
//! No charset parameter is ever added: the encodings of real packages vary and pages declare their own.

use crate::SitePath;

/// The media type of a file, from its extension.
pub fn of(path: &SitePath) -> &'static str {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "js" | "mjs" => "text/javascript",
        "json" | "map" => "application/json",
        "csv" => "text/csv",
        "txt" | "md" => "text/plain",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/vnd.microsoft.icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "eot" => "application/vnd.ms-fontobject",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "mp4" => "video/mp4",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_extension() {
        let of = |path| of(&SitePath::try_from(path).unwrap());
        assert_eq!(of("a/index.HTML"), "text/html");
        assert_eq!(of("a.b/c"), "application/octet-stream");
        assert_eq!(of("x.min.js"), "text/javascript");
    }
}
