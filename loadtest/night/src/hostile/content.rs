//! Packages whose entries are not what their headers say.

use super::{Hostile, plus, raw::Piece, table, table_data, table_with};

pub(super) fn lies() -> Vec<Hostile> {
    let data = table_data();
    let lie = |name, reasons, change: &dyn Fn(&mut Piece)| {
        Hostile::new(name, reasons, "assets/table.csv", table_with(change))
    };
    let behind = |tail: fn(&Piece) -> Vec<u8>| {
        move |piece: &mut Piece| {
            piece.data.extend_from_slice(&tail(piece));
            let len = u32::try_from(piece.data.len()).unwrap_or_default();
            piece.both(|head| head.len = len);
        }
    };
    vec![
        lie("wrong CRC in both headers", &["crc-mismatch"], &|piece| piece.both(|head| head.crc32 ^= 1)).at(data),
        lie("wrong CRC in the directory", &["header-mismatch"], &|piece| piece.central.crc32 ^= 1),
        lie("wrong CRC in the local header", &["header-mismatch"], &|piece| piece.local.crc32 ^= 1),
        lie("declared shorter", &["size-mismatch"], &|piece| piece.both(|head| head.size -= 1)),
        lie("declared longer", &["size-mismatch"], &|piece| piece.both(|head| head.size += 1)).at(data),
        lie("declared far longer", &["size-mismatch"], &|piece| piece.both(|head| head.size = 500 << 20)),
        lie("sizes differ in the headers", &["header-mismatch"], &|piece| piece.local.size += 1),
        lie("data declared shorter", &["damaged-stream"], &|piece| piece.both(|head| head.len -= 1)),
        Hostile::new(
            "data declared longer",
            &["overlap"],
            "assets/",
            table_with(|piece| piece.both(|head| head.len += 9)),
        ),
        Hostile::new(
            "data reaches into the directory",
            &["overlap"],
            "late.json",
            plus(Piece::deflated("late.json", &table()).with(|head| head.len += 9)),
        ),
        lie("rubbish behind the stream", &["size-mismatch"], &behind(|_| b"rubbish".to_vec())),
        lie("one byte behind the stream", &["size-mismatch"], &behind(|_| vec![0])),
        // What a gzip decoder looks for right behind the stream, to pass for its end.
        lie(
            "a gzip trailer behind the stream",
            &["size-mismatch"],
            &behind(|piece| [piece.local.crc32.to_le_bytes(), piece.local.size.to_le_bytes(), *b"more"].concat()),
        ),
        lie("a stored file of another size", &["size-mismatch"], &|piece| piece.both(|head| head.method = 0)),
        lie("damaged at its start", &["damaged-stream"], &|piece| {
            if let Some(first) = piece.data.first_mut() {
                *first = 7;
            }
        }),
        lie("zeros in its middle", &["damaged-stream", "size-mismatch", "crc-mismatch"], &|piece| {
            let middle = piece.data.len() / 2;
            piece.data.iter_mut().skip(middle).take(64).for_each(|byte| *byte = 0);
        }),
    ]
}
