//! TFRecord: length, its checksum, data, its checksum (tensorflow/core/lib/io/record_writer.h).

/// Bytes of a record beside its data: before and after it.
const FRAME: [usize; 2] = [12, 4];

/// `data` as a record.
pub fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(data.len() + FRAME[0] + FRAME[1]);
    bytes.extend(length);
    bytes.extend(masked(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked(data).to_le_bytes());
    bytes
}

/// CRC-32C, masked so that a checksum of data that holds checksums is a good one too.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Number of whole records in a file.
pub fn record_count(file: &[u8]) -> usize {
    ends(file).count()
}

/// The first `count` records of a file: how many bytes they take.
pub fn prefix_of(file: &[u8], count: usize) -> usize {
    if count == 0 { 0 } else { ends(file).take(count).last().unwrap_or(0) }
}

/// Where each whole record ends.
fn ends(file: &[u8]) -> impl Iterator<Item = usize> {
    let next = |at: &usize| {
        let length = u64::from_le_bytes(*file.get(*at..)?.first_chunk::<8>()?);
        let end = usize::try_from(length).ok()?.checked_add(FRAME[0] + FRAME[1])?.checked_add(*at)?;
        (end <= file.len()).then_some(end)
    };
    std::iter::successors(next(&0), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_and_cut_where_they_end() {
        let records = [record(b"one"), record(b""), record(&[7; 300])];
        let mut file = records.concat();
        file.extend_from_slice(&records[2][..50]);
        assert_eq!(record_count(&file), 3);
        assert_eq!(prefix_of(&file, 2), records[0].len() + records[1].len());
        assert_eq!((prefix_of(&file, 0), prefix_of(&file, 9)), (0, records.concat().len()));
        // A damaged length ends the file.
        assert_eq!(record_count(&[255; 40]), 0);
    }

    /// RFC 3720, B.4: 32 zeros have the checksum 8a9136aa.
    #[test]
    fn checksums_are_crc_32c() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}
