//! Invented names of places and people, with letters outside ASCII so that charsets matter.

use crate::prng::{Domain, Stream};

const LANDS: [&str; 16] = [
    "PEÑA",
    "CAÑADA",
    "LAGUNA",
    "SIERRA",
    "MONTAÑA",
    "VEGA",
    "MÉDULA",
    "BAHÍA",
    "LOMA",
    "CIÉNEGA",
    "ISLA",
    "HONDONADA",
    "CUMBRE",
    "LLANURA",
    "RIBERA",
    "MESETA",
];

const TRAITS: [&str; 16] = [
    "ALTA",
    "BLANCA",
    "SERENA",
    "PEQUEÑA",
    "LARGA",
    "ANTIGUA",
    "DORADA",
    "LÍMPIDA",
    "VERDE",
    "FRÍA",
    "CÁLIDA",
    "MANSA",
    "NUEVA",
    "ESCONDIDA",
    "CLARA",
    "ROJIZA",
];

const TREES: [&str; 20] = [
    "ENCINO", "ÁLAMO", "SAUCE", "NOGAL", "ROBLE", "CASTAÑO", "FRESNO", "CIPRÉS", "ABETO", "OLMO", "TEJO", "CEDRO",
    "PINO", "ARCE", "LAUREL", "OLIVO", "ACEBO", "NÍSPERO", "LIMÓN", "TILO",
];

/// The name of the place with this number among those of one kind.
pub(crate) fn place(seed: u64, kind: usize, number: usize) -> String {
    let mut stream = Stream::new(seed, Domain::Place, kind, number);
    [stream.pick(&LANDS), stream.pick(&TRAITS)].into_iter().flatten().copied().collect::<Vec<_>>().join(" ")
}

/// Three trees in a row, for a candidate that cannot be mistaken for a person.
pub(crate) fn person(stream: &mut Stream) -> String {
    [stream.pick(&TREES), stream.pick(&TREES), stream.pick(&TREES)]
        .into_iter()
        .flatten()
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_full_and_repeatable() {
        assert_eq!(place(1, 0, 5), place(1, 0, 5));
        assert_eq!(place(1, 0, 5).split(' ').count(), 2);
        assert_eq!(person(&mut Stream::new(1, Domain::Candidate, 0, 0)).split(' ').count(), 3);
    }
}
