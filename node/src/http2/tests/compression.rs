//! HPACK: the examples of RFC 7541 appendix C, what is refused, and what a block may cost.

use proptest::prelude::*;

use crate::{
    block::Block,
    fields::prefixed,
    http2::hpack::{self, Decoder, Size, Unreadable},
};

/// The bytes that `text` writes in hexadecimal; blanks are for the eye.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).filter_map(|digit| u8::try_from(digit).ok()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn text(decoder: &Decoder) -> Vec<(String, String)> {
    let owned = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    decoder.lines().map(|line| (owned(line.name), owned(line.value))).collect()
}

fn encoded(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::encode(name, value, &mut block);
    }
    block
}

/// One example: the size of the table before, and each block with its fields and the size after it.
type Example = (usize, &'static [(&'static str, &'static [(&'static str, &'static str)], usize)]);

const REQUESTS: [&[(&str, &str)]; 3] = [
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

const RESPONSES: [&[(&str, &str)]; 3] = [
    &[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "307"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    ],
];

const EXAMPLES: [Example; 8] = [
    (
        4096,
        &[("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &[("custom-key", "custom-header")], 55)],
    ),
    (4096, &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0)]),
    (4096, &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], 0)]),
    (4096, &[("82", &[(":method", "GET")], 0)]),
    (
        4096,
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUESTS[0], 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1], 110),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", REQUESTS[2], 164),
        ],
    ),
    (
        4096,
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUESTS[0], 57),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1], 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUESTS[2], 164),
        ],
    ),
    (
        256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
                 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                RESPONSES[0],
                222,
            ),
            ("4803 3330 37c1 c0bf", RESPONSES[1], 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
                 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
                 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
                RESPONSES[2],
                215,
            ),
        ],
    ),
    (
        256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
                 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                RESPONSES[0],
                222,
            ),
            ("4883 640e ffc1 c0bf", RESPONSES[1], 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
                 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                RESPONSES[2],
                215,
            ),
        ],
    ),
];

#[test]
fn the_examples_are_decoded() {
    for (most, blocks) in EXAMPLES {
        let mut decoder = Decoder::new(most);
        for (block, fields, size) in blocks {
            assert_eq!(decoder.decode(&hex(block), 4096), Ok(Size::Within), "{block}");
            let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!((text(&decoder), decoder.size()), (fields, *size), "{block}");
        }
    }
}

#[test]
fn fields_are_encoded_in_the_shortest_form_without_a_table() {
    for (name, value, expected) in [
        (":method", "GET", "82"),
        ("accept-encoding", "gzip, deflate", "90"),
        (":path", "/sample/path", "04 89 6103a6ba0ac5634cff"),
        ("content-type", "ÿÿ", "0f10 04 c3bfc3bf"),
        ("x", "", "00 01 78 00"),
        ("vary", "", "bb"),
    ] {
        assert_eq!(encoded(&[(name, value)]), hex(expected), "{name}: {value}");
    }
}

#[test]
fn every_status_is_encoded() {
    for status in 100..1000 {
        let mut block = Vec::new();
        hpack::status(status, &mut block);
        let mut decoder = Decoder::new(0);
        decoder.decode(&block, 4096).unwrap();
        assert_eq!(text(&decoder), [(":status".to_owned(), status.to_string())]);
        assert_eq!(block.len(), if [200, 204, 206, 304, 400, 404, 500].contains(&status) { 1 } else { 5 });
    }
}

#[test]
fn a_block_says_the_same_in_both_forms() {
    let long = "x".repeat(5000);
    let block = Block::new([
        ("content-type", "text/html; charset=utf-8"),
        ("etag", "\"a: b\""),
        ("vary", "accept-encoding"),
        ("difusor-cut", "20210606_2000/3"),
        ("content-length", "0"),
        ("long", &long),
    ]);
    let mut decoder = Decoder::new(0);
    assert_eq!(decoder.decode(block.packed(), 1 << 20), Ok(Size::Within));
    let fields: Vec<_> = block.fields().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(text(&decoder), fields);
}

#[test]
fn what_is_no_block_is_refused() {
    for (why, block) in [
        ("index 0", "80"),
        ("beyond the static table", "be"),
        ("a name beyond it", "7e 00"),
        ("no name", "40"),
        ("no value", "41"),
        ("a string that is cut off", "41 03 6161"),
        ("a number that is cut off", "ff"),
        ("a number without end", "ff 80 80 80 80 00"),
        ("a number that is too large", "ff ff ff ff ff 7f"),
        ("a table larger than allowed", "3f e2 1f"),
        ("another size of the table after a field", "82 20"),
        ("a Huffman code with the end in it", "41 84 ffffffff"),
        ("a Huffman code with eight bits of padding", "41 82 1fff"),
        ("a Huffman code padded with zeros", "41 81 18"),
    ] {
        assert_eq!(Decoder::new(4096).decode(&hex(block), 4096), Err(Unreadable::Invalid), "{why}");
    }
    assert_eq!(Decoder::new(4096).decode(&hex("3f e1 1f 20 82"), 4096), Ok(Size::Within));
    assert_eq!(Decoder::new(4096).decode(&hex("41 81 1f"), 4096), Ok(Size::Within));
}

#[test]
fn the_table_shrinks_when_the_client_says_so() {
    let mut decoder = Decoder::new(4096);
    decoder.decode(&hex("400161 0162 400163 0164"), 4096).unwrap();
    assert_eq!(decoder.size(), 68);
    // To 40 bytes: only the newer entry is left.
    decoder.decode(&hex("3f09 be"), 4096).unwrap();
    assert_eq!((text(&decoder), decoder.size()), (vec![("c".to_owned(), "d".to_owned())], 34));
    assert_eq!(decoder.decode(&hex("bf"), 4096), Err(Unreadable::Invalid));
    // What does not fit empties the table (RFC 7541 section 4.4), and may name the entry that goes.
    let mut decoder = Decoder::new(40);
    decoder.decode(&hex("400163 0164 7e 09 646464646464646464"), 4096).unwrap();
    assert_eq!((text(&decoder)[1].clone(), decoder.size()), (("c".to_owned(), "d".repeat(9)), 0));
}

#[test]
fn a_list_beyond_the_limit_leaves_the_table_as_it_should_be() {
    let mut decoder = Decoder::new(4096);
    let mut block = encoded(&[("a", &"x".repeat(200))]);
    block.extend(hex("400163 0164"));
    assert_eq!(decoder.decode(&block, 100), Ok(Size::Beyond), "the limit is passed");
    assert_eq!((decoder.lines().count(), decoder.size()), (0, 34));
    assert_eq!(decoder.decode(&hex("be"), 100), Ok(Size::Within));
    assert_eq!(text(&decoder), [("c".to_owned(), "d".to_owned())]);
}

/// An entry of four thousand bytes, repeated with a byte or two each time.
#[test]
fn a_bomb_costs_no_more_than_its_limit() {
    let mut large = hex("40 7f a1 1e");
    large.extend([b'a'; 4000]);
    large.push(0);
    for again in ["be", "7e00", "0f2f00"] {
        let mut decoder = Decoder::new(4096);
        decoder.decode(&large, 8192).unwrap();
        assert_eq!(decoder.decode(&hex(&again.repeat(60)), 32 << 10), Ok(Size::Beyond));
        assert!(decoder.held() < 128 << 10, "{again}: {}", decoder.held());
        decoder.decode(&[], 0).unwrap();
        assert!(decoder.held() < 16 << 10, "{again}: {}", decoder.held());
        assert_eq!(decoder.decode(&hex(&again.repeat(70)), 32 << 10), Err(Unreadable::Bomb));
    }
}

/// A field as an encoder may write it: how it is indexed, its name, its value.
fn field() -> impl Strategy<Value = (u8, Vec<u8>, Vec<u8>)> {
    (0..3_u8, prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..200))
}

proptest! {
    #[test]
    fn arbitrary_blocks_never_panic(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        most in 0_usize..300,
        max in 0_usize..600,
    ) {
        let mut decoder = Decoder::new(most);
        for block in blocks {
            if decoder.decode(&block, max).is_err() { break }
            prop_assert!(decoder.size() <= most);
            let size: usize = decoder.lines().map(|line| line.name.len() + line.value.len() + 32).sum();
            prop_assert!(size <= max);
        }
    }

    /// Every byte, through the one encoder and the other decoder, with a table that overflows all the time.
    #[test]
    fn fields_survive(lists in prop::collection::vec(prop::collection::vec(field(), 0..12), 1..6), most in 0_usize..600) {
        let mut decoder = Decoder::new(most);
        let mut table: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for list in lists {
            let mut block = Vec::new();
            for (how, name, value) in &list {
                let place = table.iter().position(|(known, _)| known == name).filter(|place| *place < 60);
                let literal = |block: &mut Vec<u8>, text: &[u8]| prefixed::put_string(0, 7, text, block);
                match (how, place) {
                    (0, Some(place)) if table[place].1 == *value => { block.push(0x80 | u8::try_from(62 + place).unwrap()); continue }
                    (2, _) => { block.push(0); literal(&mut block, name) }
                    (_, Some(0)) => block.push(0x7e),
                    (_, _) => { block.push(0x40); literal(&mut block, name) }
                }
                literal(&mut block, value);
                if *how != 2 {
                    table.insert(0, (name.clone(), value.clone()));
                    while table.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > most {
                        table.pop();
                    }
                }
            }
            prop_assert_eq!(decoder.decode(&block, 1 << 20), Ok(Size::Within));
            let expected: Vec<_> = list.into_iter().map(|(_, name, value)| (name, value)).collect();
            let found: Vec<_> = decoder.lines().map(|line| (line.name.to_vec(), line.value.to_vec())).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
