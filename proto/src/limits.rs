//! Every bound on what is taken from outside, with its reason. The call speaks of packages of about 40 MB, 200 MB
//! plain and 5,000 files; what is accepted is ten times that.

/// Longest path of a file in a site, in bytes. Browsers and proxies cut addresses at 2,048 and above; half of it
/// leaves room for a host, a prefix and percent-encoding.
pub const MAX_PATH_BYTES: usize = 1024;

/// Most entries in a package, members of inner archives counted in: ten times the largest site seen.
pub const MAX_ENTRIES: usize = 50_000;

/// Largest package, in bytes: ten times the call's 40 MB, with room to spare.
pub const MAX_PACKAGE_BYTES: u64 = 512 << 20;

/// Most plain bytes a package may hold, inner archives counted in: ten times the call's 200 MB.
pub const MAX_PLAIN_BYTES: u64 = 2 << 30;

/// Largest single file of a site, plain. A file is held in memory while it is inflated, hashed and patched.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// How deep zips may lie inside zips and still be opened; a fourth level is served as the bytes it is.
pub const MAX_DEPTH: u32 = 3;

/// Deflate cannot expand more than this (zlib's technical notes: 1032:1), so a larger ratio is a lie.
pub const MAX_DEFLATE_RATIO: u64 = 1032;

/// Largest frame on a control stream, in bytes. The largest is a request for missing blobs.
pub const MAX_CONTROL_FRAME: usize = 1 << 20;

/// Largest signed manifest on the wire, in bytes: [`MAX_ENTRIES`] entries with paths of 150 bytes.
pub const MAX_MANIFEST_BYTES: usize = 16 << 20;

/// Most digests in one request for missing blobs, so that the request fits a control frame.
pub const MAX_WANT: usize = 16_384;

/// Largest head of a blob on a delta stream, in bytes: two digests and a few numbers.
pub const MAX_ITEM_HEAD: usize = 256;

/// How many times a blob that does not verify is asked for again before the cut is refused.
pub const MAX_REPAIRS: u32 = 3;

/// Largest pack on the wire, in bytes: the largest package, its manifest, and a header of 128 bytes for every entry.
pub const MAX_PACK_BYTES: u64 = MAX_PACKAGE_BYTES + (16 << 20) + (MAX_ENTRIES as u64 + 3) * 128 + 4096;

/// Most packs that a node says it keeps, so that they fit a control frame: 16 times the 500 packages of the call.
pub const MAX_KEPT: usize = 8192;

/// Most offenders that nodes tell each other of in one piece of news: it rides on packets of failure detection, among others.
pub const MAX_BANNED: usize = 16;

/// Most offenders that a node tells of at once: more than can be told apart from noise in a second.
pub const MAX_OFFENDERS: usize = 256;

/// Most nodes of a mesh, so that their list fits a control frame with four addresses of each kind.
pub const MAX_MEMBERS: usize = 2048;

/// Most nodes that one is told to ask for a cut: enough for two of them to fail.
pub const MAX_SOURCES: usize = 8;

/// Largest head of a pack on a stream of a node, in bytes: a name of 60, a length and a digest.
pub const MAX_PACK_HEAD: usize = 256;

/// Largest enrolment message, in bytes: two certificate requests with a few names each.
pub const MAX_ENROL_FRAME: usize = 64 << 10;
