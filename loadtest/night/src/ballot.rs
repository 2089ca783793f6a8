//! What is voted on: the elections, and the invented parties and coalitions on their ballots.

/// Most columns of votes on any ballot.
pub(crate) const MAX_COLUMNS: usize = 18;

/// One kind of election.
pub(crate) struct Election {
    /// Name in paths of tables.
    pub(crate) name: &'static str,
    /// Name in paths of JSON files.
    pub(crate) short: &'static str,
    /// First line of the table.
    pub(crate) title: &'static str,
    /// Number of the kind of sheet.
    pub(crate) kind: u64,
}

/// The elections, in the order in which a spec takes them.
pub(crate) const ELECTIONS: [Election; 6] = [
    Election { name: "PRESIDENCIA", short: "Presidencia", title: "PRESIDENCIA", kind: 1 },
    Election { name: "SENADURIAS", short: "Senadurias", title: "SENADURÍAS", kind: 2 },
    Election { name: "DIPUTACIONES", short: "Diputaciones", title: "DIPUTACIONES FEDERALES", kind: 3 },
    Election { name: "GUBERNATURA", short: "Gubernatura", title: "GUBERNATURA", kind: 5 },
    Election { name: "AYUNTAMIENTOS", short: "Ayuntamientos", title: "AYUNTAMIENTOS", kind: 6 },
    Election { name: "CONGRESO", short: "Congreso", title: "CONGRESO LOCAL", kind: 7 },
];

/// A party, coalition or independent candidate that can be voted for.
pub(crate) struct Choice {
    /// Column of the table.
    pub(crate) label: &'static str,
    /// Full name.
    pub(crate) name: &'static str,
    /// RGB, hexadecimal.
    pub(crate) color: &'static str,
    /// Support, relative to the others on the ballot.
    pub(crate) weight: u64,
}

const fn choice(label: &'static str, name: &'static str, color: &'static str, weight: u64) -> Choice {
    Choice { label, name, color, weight }
}

const PARTIES: [Choice; 9] = [
    choice("SOL", "PARTIDO DEL SOL", "E0A100", 520),
    choice("RIO", "UNIÓN DEL RÍO", "1F6FB2", 410),
    choice("MAR", "FRENTE DEL MAR", "0B8A8F", 260),
    choice("CEIBA", "MOVIMIENTO CEIBA", "2E7D32", 150),
    choice("VIENTO", "PARTIDO VIENTO NUEVO", "7E57C2", 70),
    choice("FARO", "ALIANZA FARO", "C62828", 46),
    choice("ALBA", "ENCUENTRO ALBA", "EC7A9C", 30),
    choice("LUZ", "CONVERGENCIA LUZ Y NIÑEZ", "FFC94D", 18),
    choice("ROCA", "PARTIDO DE LA ROCA", "6D4C41", 12),
];

const LARGE_COALITION: [Choice; 4] = [
    choice("C_RIO_MAR_ALBA", "COALICIÓN RÍO MAR ALBA", "3F8FC4", 6),
    choice("C_RIO_MAR", "COALICIÓN RÍO MAR", "3F8FC4", 2),
    choice("C_RIO_ALBA", "COALICIÓN RÍO ALBA", "3F8FC4", 1),
    choice("C_MAR_ALBA", "COALICIÓN MAR ALBA", "3F8FC4", 1),
];

const SMALL_COALITION: [Choice; 4] = [
    choice("C_SOL_CEIBA_LUZ", "COALICIÓN SOL CEIBA LUZ", "D98E00", 5),
    choice("C_SOL_CEIBA", "COALICIÓN SOL CEIBA", "D98E00", 2),
    choice("C_SOL_LUZ", "COALICIÓN SOL LUZ", "D98E00", 1),
    choice("C_CEIBA_LUZ", "COALICIÓN CEIBA LUZ", "D98E00", 1),
];

const INDEPENDENT: [Choice; 1] = [choice("CAND_IND_1", "CANDIDATURA INDEPENDIENTE", "9E9E9E", 3)];

/// The ballot of the election with this number: its columns of votes, in order, at most [`MAX_COLUMNS`].
pub(crate) fn ballot(election: usize) -> Vec<&'static Choice> {
    let mut columns: Vec<&'static Choice> = PARTIES.iter().chain(&LARGE_COALITION).collect();
    if election % 3 != 1 {
        columns.extend(&SMALL_COALITION);
    }
    if election % 3 != 2 {
        columns.extend(&INDEPENDENT);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_differ_and_fit() {
        let sizes: Vec<_> = (0..ELECTIONS.len()).map(|election| ballot(election).len()).collect();
        assert_eq!(sizes, [18, 14, 17, 18, 14, 17]);
        assert!(sizes.iter().all(|size| *size <= MAX_COLUMNS));
    }
}
