//! The codes that zlib gives to a block whose symbols are counted, and how it writes them down.
//!
//! RFC 1951 leaves the choice open. zlib (`trees.c`) builds Huffman's tree with a heap, breaks ties by depth, shortens
//! codes that are too long in one way of several, and packs runs of equal lengths greedily. A header that follows these
//! rules need not be kept.

use super::{
    bits::Writer,
    codes::{self, DISTANCES, END, LENGTHS, LITERALS, LONGEST, ORDER},
};

/// Longest code of a length.
const LONGEST_OF_LENGTHS: u32 = 7;

/// How often each symbol is in a block.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    pub(super) literals: [u32; LITERALS],
    pub(super) distances: [u32; DISTANCES],
}

impl Default for Counts {
    /// A block has one end, and else nothing.
    fn default() -> Self {
        let mut literals = [0; LITERALS];
        literals.iter_mut().skip(usize::from(END)).take(1).for_each(|count| *count = 1);
        Self { literals, distances: [0; DISTANCES] }
    }
}

/// Lengths of codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) literals: Vec<u8>,
    pub(super) distances: Vec<u8>,
}

/// What zlib would write in front of a block of these symbols: its codes, and whether they are the fixed ones.
pub(super) fn plan(counts: &Counts) -> (Lengths, bool) {
    let lengths = dynamic(counts);
    let (fixed_literals, fixed_distances) = codes::fixed();
    let cost = |literals: &[u8], distances: &[u8]| {
        let of = |counts: &[u32], lengths: &[u8]| -> u64 {
            counts.iter().zip(lengths).map(|(count, length)| u64::from(*count) * u64::from(*length)).sum()
        };
        of(&counts.literals, literals) + of(&counts.distances, distances)
    };
    // The bits behind symbols are the same either way, but bytes are compared: they count.
    let extra = extra(counts);
    let bytes = |bits: u64| (bits + extra + 3 + 7) >> 3;
    let dynamic = bytes(cost(&lengths.literals, &lengths.distances) + header(&lengths).1);
    let fixed = bytes(cost(&fixed_literals, &fixed_distances));
    if fixed <= dynamic {
        (Lengths { literals: fixed_literals.to_vec(), distances: fixed_distances.to_vec() }, true)
    } else {
        (lengths, false)
    }
}

/// The codes that zlib makes for these symbols.
pub(super) fn dynamic(counts: &Counts) -> Lengths {
    let literals = counts.literals.get(..LITERALS - 2).unwrap_or(&counts.literals);
    Lengths { literals: tree(literals, LONGEST), distances: tree(&counts.distances, LONGEST) }
}

fn extra(counts: &Counts) -> u64 {
    let of = |counts: &[u32], table: &[(u16, u8)]| -> u64 {
        counts.iter().zip(table).map(|(count, (_, extra))| u64::from(*count) * u64::from(*extra)).sum()
    };
    of(counts.literals.get(usize::from(END) + 1..).unwrap_or_default(), &codes::LENGTH)
        + of(&counts.distances, &codes::DISTANCE)
}

/// A piece of a header: a symbol of the code of lengths, and the bits that follow it with their number.
type Piece = (u8, u32, u32);

/// Writes the codes of a block, behind its first three bits.
pub(super) fn write(lengths: &Lengths, writer: &mut Writer) {
    let (Header { pieces, codes, literals, distances, count }, _) = header(lengths);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 288 codes of literals, 30 of distances, 19 of lengths"
    )]
    for (number, bits) in [(literals as u32 - 257, 5), (distances as u32 - 1, 5), (count as u32 - 4, 4)] {
        writer.put(number, bits);
    }
    let length = |symbol: u8| codes.get(usize::from(symbol)).copied().unwrap_or(0);
    ORDER.iter().take(count).for_each(|symbol| writer.put(length(*symbol).into(), 3));
    let written = codes::codes(&codes).unwrap_or_default();
    for (symbol, bits, count) in pieces {
        writer.put(written.get(usize::from(symbol)).copied().unwrap_or(0).into(), length(symbol).into());
        writer.put(bits, count);
    }
}

/// A header that is ready to be written.
struct Header {
    pieces: Vec<Piece>,
    /// Lengths of the codes of lengths.
    codes: Vec<u8>,
    literals: usize,
    distances: usize,
    /// How many of [`ORDER`] are written.
    count: usize,
}

/// The header of these codes, and its bits.
fn header(lengths: &Lengths) -> (Header, u64) {
    let used = |lengths: &[u8]| lengths.iter().rposition(|length| *length > 0).map_or(0, |at| at + 1);
    // zlib has never fewer codes of literals than up to the end of a block, and never less than one of a distance.
    let (literals, distances) = (used(&lengths.literals).max(257), used(&lengths.distances).max(1));
    let mut pieces = pieces(lengths.literals.get(..literals).unwrap_or(&lengths.literals));
    pieces.extend(self::pieces(lengths.distances.get(..distances).unwrap_or(&lengths.distances)));
    let mut counts = [0_u32; LENGTHS];
    for (symbol, ..) in &pieces {
        counts.iter_mut().skip(usize::from(*symbol)).take(1).for_each(|count| *count += 1);
    }
    let codes = tree(&counts, LONGEST_OF_LENGTHS);
    let length = |symbol: u8| u64::from(codes.get(usize::from(symbol)).copied().unwrap_or(0));
    let count = ORDER.iter().rposition(|symbol| length(*symbol) > 0).map_or(0, |at| at + 1).max(4);
    let bits = pieces.iter().map(|(symbol, _, bits)| length(*symbol) + u64::from(*bits)).sum::<u64>();
    (Header { pieces, codes, literals, distances, count }, bits + 14 + 3 * count as u64)
}

/// Lengths of codes, with runs of them packed: three to six times the last, or three to 138 zeros.
fn pieces(lengths: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut last = None;
    let mut rest = lengths;
    while let Some(&length) = rest.first() {
        // A run that repeats the last length may be one longer than one that says its own, which comes first.
        let most = match length {
            0 => 138,
            _ if last == Some(length) => 6,
            _ => 7,
        };
        let run = rest.iter().take_while(|other| **other == length).take(most).count();
        rest = rest.get(run..).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "at most 138")]
        let run_bits = run as u32;
        match (length, run) {
            (0, 3..=10) => pieces.push((17, run_bits - 3, 3)),
            (0, 11..) => pieces.push((18, run_bits - 11, 7)),
            (1.., 3..) if last == Some(length) => pieces.push((16, run_bits - 3, 2)),
            (1.., 4..) => pieces.extend([(length, 0, 0), (16, run_bits - 4, 2)]),
            _ => pieces.extend(std::iter::repeat_n((length, 0, 0), run)),
        }
        last = Some(length);
    }
    pieces
}

/// A node of the tree that is being built: a symbol, or two nodes together.
#[derive(Debug, Clone, Copy)]
struct Node {
    count: u32,
    depth: u8,
    parent: usize,
}

/// Lengths of Huffman codes for symbols with these counts, none longer than `longest`.
fn tree(counts: &[u32], longest: u32) -> Vec<u8> {
    let mut nodes: Vec<Node> = counts.iter().map(|count| Node { count: *count, depth: 0, parent: 0 }).collect();
    let mut heap: Vec<usize> =
        (0..counts.len()).filter(|at| nodes.get(*at).is_some_and(|node| node.count > 0)).collect();
    // Two codes at least, since some readers want them: zlib counts up from the last symbol while it is below two.
    let mut next = heap.last().map_or(0, |last| last + 1);
    while heap.len() < 2 {
        let forced = if next < 3 { next } else { 0 };
        next += 1;
        if let Some(node) = nodes.get_mut(forced) {
            node.count = 1;
        }
        heap.push(forced);
    }
    let mut heap = Heap { places: heap };
    for at in (0..heap.places.len() / 2).rev() {
        heap.sink(at, &nodes);
    }
    // From the rarest up, two of a kind; the root last.
    let mut order = Vec::with_capacity(2 * counts.len());
    while heap.places.len() > 1 {
        let first = heap.replace_top(None, &nodes);
        let second = heap.places.first().copied().unwrap_or(0);
        order.extend([first, second]);
        let joined = nodes.len();
        let (mut count, mut depth) = (0, 0);
        for at in [first, second] {
            if let Some(node) = nodes.get_mut(at) {
                node.parent = joined;
                count += node.count;
                depth = depth.max(node.depth);
            }
        }
        nodes.push(Node { count, depth: depth + 1, parent: 0 });
        heap.replace_top(Some(joined), &nodes);
    }
    order.push(heap.places.first().copied().unwrap_or(0));
    lengths(&nodes, &order, counts.len(), longest)
}

/// Rarest first, then shallowest.
struct Heap {
    places: Vec<usize>,
}

impl Heap {
    fn is_before(a: usize, b: usize, nodes: &[Node]) -> bool {
        let key = |at: usize| nodes.get(at).map(|node| (node.count, node.depth));
        key(a) <= key(b)
    }

    /// Moves what is at `at` down to where it belongs.
    fn sink(&mut self, mut at: usize, nodes: &[Node]) {
        let Some(moving) = self.places.get(at).copied() else { return };
        loop {
            let left = 2 * at + 1;
            let Some(mut child) = self.places.get(left).copied() else { break };
            let mut place = left;
            if let Some(right) = self.places.get(left + 1).copied()
                && Self::is_before(right, child, nodes)
            {
                (child, place) = (right, left + 1);
            }
            if Self::is_before(moving, child, nodes) {
                break;
            }
            if let Some(slot) = self.places.get_mut(at) {
                *slot = child;
            }
            at = place;
        }
        if let Some(slot) = self.places.get_mut(at) {
            *slot = moving;
        }
    }

    /// Takes the first out, and puts `by` in its place, or else the last.
    fn replace_top(&mut self, by: Option<usize>, nodes: &[Node]) -> usize {
        let by = by.or_else(|| self.places.pop());
        let (Some(top), Some(by)) = (self.places.first_mut(), by) else { return by.unwrap_or(0) };
        let first = std::mem::replace(top, by);
        self.sink(0, nodes);
        first
    }
}

/// How deep each symbol lies, with what is too deep brought up.
fn lengths(nodes: &[Node], order: &[usize], symbols: usize, longest: u32) -> Vec<u8> {
    let mut depths = vec![0_u32; nodes.len()];
    let mut counts = vec![0_u32; longest as usize + 2];
    let mut overflow = 0_i64;
    // The root first.
    for &at in order.iter().rev().skip(1) {
        let above = nodes.get(at).and_then(|node| depths.get(node.parent)).copied().unwrap_or(0);
        let depth = (above + 1).min(longest);
        overflow += i64::from(above + 1 > longest);
        if let Some(place) = depths.get_mut(at) {
            *place = depth;
        }
        if at < symbols
            && let Some(count) = counts.get_mut(depth as usize)
        {
            *count += 1;
        }
    }
    if overflow > 0 {
        while overflow > 0 {
            let mut bits = longest as usize - 1;
            while bits > 0 && counts.get(bits) == Some(&0) {
                bits -= 1;
            }
            // One code less here makes room for two below, one of which was too deep.
            for (at, change) in [(bits, -1), (bits + 1, 2), (longest as usize, -1)] {
                if let Some(count) = counts.get_mut(at) {
                    *count = count.saturating_add_signed(change);
                }
            }
            overflow -= 2;
        }
        // The rarest symbols get the longest codes.
        let mut rarest = order.iter().copied().filter(|at| *at < symbols);
        for bits in (1..=longest).rev() {
            for _ in 0..counts.get(bits as usize).copied().unwrap_or(0) {
                if let Some(place) = rarest.next().and_then(|at| depths.get_mut(at)) {
                    *place = bits;
                }
            }
        }
    }
    depths.into_iter().take(symbols).map(|depth| u8::try_from(depth).unwrap_or(0)).collect()
}
