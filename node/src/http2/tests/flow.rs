//! Windows in both directions (RFC 9113 section 6.9).

use super::*;

const MOST: u32 = 0x7fff_ffff;

#[test]
fn answers_keep_to_the_windows() {
    // Each step: what the client sends, and what comes of it.
    for (why, first, steps) in [
        (
            "a stream's",
            10,
            [
                (get(1, "/25"), "HEAD 1 200; DATA 1 10"),
                (window(1, 5), "DATA 1 5"),
                (window(0, 5), ""),
                (settings_frame(&[(4, 0)]), "SETTINGS ack"),
                (window(1, 10), ""),
                (window(1, 3), "DATA 1 3"),
                (settings_frame(&[(4, 1)]), "SETTINGS ack; DATA 1 1"),
                (settings_frame(&[(4, 100)]), "SETTINGS ack; DATA 1 6 end"),
            ]
            .to_vec(),
        ),
        (
            "the connection's",
            100_000,
            vec![
                (get(1, "/65530"), "HEAD 1 200; DATA 1 16384; DATA 1 16384; DATA 1 16384; DATA 1 16378 end"),
                (get(3, "/7"), "HEAD 3 200; DATA 3 5"),
                (window(3, 5), ""),
                (get(5, "/304"), "HEAD 5 304 end"),
                (window(0, 1), "DATA 3 1"),
                (window(0, 1), "DATA 3 1 end"),
            ],
        ),
        (
            "as large as they can be",
            MOST,
            vec![
                (window(0, MOST - 65_535), ""),
                (get(1, "/7"), "HEAD 1 200; DATA 1 7 end"),
                (window(0, 7), ""),
                (window(0, 1), "GOAWAY 1 3"),
            ],
        ),
        (
            "a stream's, overflowing",
            0,
            vec![
                (get(1, "/7"), "HEAD 1 200"),
                (get(3, "/7"), "HEAD 3 200"),
                ([window(1, MOST), window(1, 1)].concat(), "RST 1 3"),
                (window(3, 7), "DATA 3 7 end"),
            ],
        ),
        (
            "a stream's, overflowing by settings",
            0,
            vec![(get(1, "/7"), "HEAD 1 200"), ([window(1, MOST), settings_frame(&[(4, 1)])].concat(), "GOAWAY 1 3")],
        ),
        (
            "a stream's, closed by settings before its turn",
            10,
            vec![
                ([get(1, "/7"), settings_frame(&[(4, 0)])].concat(), "HEAD 1 200; SETTINGS ack"),
                (settings_frame(&[(4, 10)]), "SETTINGS ack; DATA 1 7 end"),
            ],
        ),
    ] {
        let mut line = Line::with(&[(4, first)]);
        for (nth, (bytes, expected)) in steps.into_iter().enumerate() {
            assert_eq!(line.talk(&[bytes]), expected, "{why}, step {nth}");
        }
    }
}

#[test]
fn small_and_large_pieces_add_up_to_the_body() {
    let mut line = Line::with(&[(4, 0)]);
    line.talk(&[get(1, "/70000")]);
    let mut body = Vec::new();
    for by in [1, 2, 1000, 1024, 20_000, 3, 50_000, 9000] {
        line.send(&[window(1, by), window(0, by)].concat());
        let mut bytes = line.some(usize::MAX);
        while let Some(frame) = next(&mut bytes) {
            assert_eq!((frame.kind, frame.id), (kind::DATA, 1));
            body.extend(frame.payload);
        }
    }
    assert!(body == content(70_000), "{} bytes", body.len());
}

/// A content is read over up to a bound, though its answer stands still, and that of others forever.
#[test]
fn content_has_its_windows() {
    let mut line = Line::with(&[(4, 0)]);
    assert_eq!(line.talk(&[post(1, "/5")]), "HEAD 1 200");
    let mut given = 65_535;
    let mut sent = 0;
    while sent + 16_384 <= given && sent < 1 << 20 {
        sent += 16_384;
        for word in line.talk(&[data(1, 0, 16_384)]).split("; ").filter(|words| !words.is_empty()) {
            if let Some(by) = word.strip_prefix("WINDOW 1 ") {
                given += by.parse::<usize>().unwrap();
            } else {
                assert!(word.starts_with("WINDOW 0 "), "{word}");
            }
        }
    }
    assert_eq!((given, sent), (256 * 1024, 256 * 1024));
    assert_eq!(line.talk(&[data(1, 0, 1)]), "RST 1 3");
    // Padding counts; what comes on a stream that is gone is still given back to the others.
    let padded = frame(kind::DATA, flag::PADDED, 1, &[&[255][..], &[0; 16_383]].concat());
    let mut open = 65_535 - 1;
    for _ in 0..100 {
        open -= 16_384;
        if let Some(by) = line.talk(std::slice::from_ref(&padded)).strip_prefix("WINDOW 0 ") {
            open += by.parse::<usize>().unwrap();
        }
        assert!(open > 16_384);
    }
}
