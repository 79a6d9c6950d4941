//! The tar: blocks of 512 bytes, each of which follows from the members' names and lengths and from nothing else.

use std::io;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 512;
/// Two empty blocks end a tar.
pub(super) const END: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];

/// The block before a member.
///
/// # Errors
/// A name that a tar cannot hold, or that leads out of its folder.
pub(super) fn head(name: &str, bytes: u64) -> io::Result<[u8; BLOCK as usize]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(*header.as_bytes())
}

/// Name and length of the member behind a block, if it is one.
pub(super) fn parse(block: &[u8; BLOCK as usize]) -> Option<(String, u64)> {
    let header = tar::Header::from_byte_slice(block);
    let name = std::str::from_utf8(&header.path_bytes()).ok()?.to_owned();
    Some((name, header.entry_size().ok()?))
}

/// The empty bytes behind a member of this length.
pub(super) fn padding(bytes: u64) -> usize {
    (bytes.wrapping_neg() % BLOCK) as usize
}

/// The space a member of this length takes in the file; `None` if no file can be that long.
pub(super) fn extent(bytes: u64) -> Option<u64> {
    bytes.checked_next_multiple_of(BLOCK)?.checked_add(BLOCK)
}
