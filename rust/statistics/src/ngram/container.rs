//! lamina's own file of named arrays: models that are mapped as they lie, and counts.
//!
//! All numbers are little-endian. The file is a header of 64 bytes, sections that each begin at a
//! multiple of 64 bytes, and a table:
//!
//! | bytes | header |
//! | --- | --- |
//! | 8 | `LAMINANG` |
//! | 4, 4, 4, 4 | version (2), [`Kind`], order, flags of the kind |
//! | 8, 8, 8 | where the table begins, its length in bytes, length of the file |
//! | 8 | [`checksum`] of the table |
//! | 8 | [`checksum`] of the 48 bytes above |
//!
//! The table is how many n-grams there are of each length, 8 bytes each, and then 40 bytes for each
//! section: its name in ASCII filled up with zeros (12), the length of n-gram it is of or zero (4),
//! where it begins (8), its length in bytes (8) and its checksum (8).
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use super::{MAX_ORDER, Stop, check};
use crate::buffer::{Buffer, Plain, bytes_of};
use crate::files;
use crate::hash::{fold, little_endian};
use crate::threads;
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"LAMINANG";
const VERSION: u32 = 2;
const HEADER: usize = 64;
const ALIGNMENT: usize = 64;
const NAME: usize = 12;
const ENTRY: usize = 40;
/// Bytes of a section that are checked in one go.
const BLOCK: usize = 1 << 20;
/// Blocks checked between two looks at whether to stop.
const BLOCKS: usize = 256;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A model as the trie it is in memory.
    Trie = 1,
    /// A model as tables of hashes.
    Probing = 2,
    /// A model in few bits.
    Compact = 3,
    /// Counts of n-grams.
    Counts = 4,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        [Self::Trie, Self::Probing, Self::Compact, Self::Counts]
            .into_iter()
            .find(|&kind| kind as u32 == number)
    }

    /// What a message calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Trie => "a model as a trie",
            Self::Probing => "a model as probing tables",
            Self::Compact => "a compact model",
            Self::Counts => "counts of n-grams",
        }
    }
}

/// Whether the contents of sections are compared with their checksums when a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// All of them, which reads the whole file.
    Whole,
    /// None: what is not used is not read. The header and the table are checked all the same.
    Lazy,
}

/// Multiplies eight bytes at a time into 128 bits and folds the halves, in four lanes.
pub fn checksum(bytes: &[u8]) -> u64 {
    const SEEDS: [u64; 4] = [
        0x9e37_79b9_7f4a_7c15,
        0xd1b5_4a32_d192_ed03,
        0x8cb9_2ba7_2f3d_8dd7,
        0xaef1_7502_108e_f2d9,
    ];
    let word = |bytes: &[u8]| {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(eight)
    };
    let mut lanes = SEEDS;
    let mut chunks = bytes.chunks_exact(32);
    for chunk in &mut chunks {
        for (lane, (eight, seed)) in lanes.iter_mut().zip(chunk.chunks_exact(8).zip(SEEDS)) {
            // Without the sum a lane that is zero once would stay so.
            *lane = fold(*lane ^ word(eight), seed).wrapping_add(seed);
        }
    }
    for (lane, eight) in lanes.iter_mut().zip(chunks.remainder().chunks(8)) {
        *lane = fold(*lane ^ word(eight), SEEDS[0]).wrapping_add(SEEDS[1]);
    }
    let all = lanes.into_iter().fold(bytes.len() as u64 ^ SEEDS[3], |all, lane| {
        fold(all ^ lane, SEEDS[2]).wrapping_add(lane)
    });
    fold(all ^ SEEDS[0], SEEDS[1])
}

/// The checksum of a section: that of the checksums of its blocks, which can be made side by side.
#[derive(Default)]
struct Running {
    block: Vec<u8>,
    sums: Vec<u8>,
}

impl Running {
    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.block.is_empty() && bytes.len() >= BLOCK {
                let whole = bytes.len() / BLOCK;
                let sums = threads::map(whole, whole * BLOCK / 8, |block| {
                    checksum(&bytes[block * BLOCK..(block + 1) * BLOCK])
                });
                sums.into_iter().for_each(|sum| self.sums.extend(sum.to_le_bytes()));
                bytes = &bytes[whole * BLOCK..];
                continue;
            }
            let taken = bytes.len().min(BLOCK - self.block.len());
            self.block.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.block.len() == BLOCK {
                self.sums.extend(checksum(&self.block).to_le_bytes());
                self.block.clear();
            }
        }
    }

    fn finish(mut self) -> u64 {
        if !self.block.is_empty() {
            self.sums.extend(checksum(&self.block).to_le_bytes());
        }
        checksum(&self.sums)
    }
}

/// A section as the table has it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: [u8; NAME],
    length: u32,
    offset: u64,
    bytes: u64,
    checksum: u64,
}

fn padded(name: &str) -> [u8; NAME] {
    let mut padded = [0; NAME];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

/// Writes the sections of a file one after the other.
pub struct Writer<'a> {
    path: PathBuf,
    file: BufWriter<&'a mut File>,
    at: u64,
    entries: Vec<Entry>,
    /// Whether the last section is not finished yet.
    begun: bool,
    running: Running,
    stop: Stop<'a>,
}

/// Writes a file of `kind`, whose sections `write` adds; it returns how many n-grams there are of
/// each length, and whatever else. The file appears under its name when it is complete.
pub fn write<R>(
    path: &Path,
    kind: Kind,
    flags: u32,
    stop: Stop<'_>,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(Vec<u64>, R)>,
) -> Result<R> {
    files::replace(path, |file| {
        let file = BufWriter::with_capacity(1 << 18, file);
        let mut writer = Writer {
            path: path.to_path_buf(),
            file,
            at: 0,
            entries: Vec::new(),
            begun: false,
            running: Running::default(),
            stop,
        };
        writer.put(&[0; HEADER])?;
        let (counts, result) = write(&mut writer)?;
        writer.finish(kind, flags, &counts)?;
        Ok(result)
    })
}

impl Writer<'_> {
    /// Adds the section `name`, at most 12 ASCII characters, of n-grams of `length` words.
    pub fn section<T: Plain>(&mut self, name: &str, length: usize, values: &[T]) -> Result<()> {
        self.begin(name, length)?;
        self.extend(values)
    }

    /// Begins a section, which [`Self::extend`] fills.
    pub fn begin(&mut self, name: &str, length: usize) -> Result<()> {
        self.end();
        let unused = self.at.next_multiple_of(ALIGNMENT as u64) - self.at;
        self.put(&[0; ALIGNMENT][..unused as usize])?;
        let name = padded(name);
        let entry = Entry { name, length: length as u32, offset: self.at, bytes: 0, checksum: 0 };
        self.entries.push(entry);
        self.begun = true;
        Ok(())
    }

    /// Adds to the section begun last.
    pub fn extend<T: Plain>(&mut self, values: &[T]) -> Result<()> {
        for bytes in bytes_of(values).chunks(BLOCK * 16) {
            check(self.stop)?;
            self.running.add(bytes);
            self.put(bytes)?;
        }
        files::start_writing(self.file.get_ref());
        Ok(())
    }

    fn end(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        if let Some(entry) = self.entries.last_mut().filter(|_| begun) {
            entry.bytes = self.at - entry.offset;
            entry.checksum = std::mem::take(&mut self.running).finish();
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| Error::io(&self.path, &error))
    }

    fn finish(mut self, kind: Kind, flags: u32, counts: &[u64]) -> Result<()> {
        self.end();
        let mut table = Vec::new();
        counts.iter().for_each(|count| table.extend(count.to_le_bytes()));
        for entry in &self.entries {
            table.extend(entry.name);
            table.extend(entry.length.to_le_bytes());
            [entry.offset, entry.bytes, entry.checksum]
                .iter()
                .for_each(|number| table.extend(number.to_le_bytes()));
        }
        let start = self.at;
        self.put(&table)?;
        let mut header = MAGIC.to_vec();
        for number in [VERSION, kind as u32, counts.len() as u32, flags] {
            header.extend(number.to_le_bytes());
        }
        for number in [start, table.len() as u64, self.at, checksum(&table)] {
            header.extend(number.to_le_bytes());
        }
        header.extend(checksum(&header).to_le_bytes());
        let written = self.file.seek(SeekFrom::Start(0));
        let written = written.and_then(|_| self.file.write_all(&header));
        written.and_then(|()| self.file.flush()).map_err(|error| Error::io(&self.path, &error))
    }
}

/// A file that is open.
#[derive(Debug, Clone)]
pub struct Container {
    name: String,
    map: Arc<Mmap>,
    /// What is in it.
    pub kind: Kind,
    /// Flags of the kind.
    pub flags: u32,
    /// How many n-grams there are of each length.
    pub counts: Vec<u64>,
    entries: Vec<Entry>,
}

impl Container {
    /// Opens a file and checks its header and its table, and its contents where `verify` says so.
    ///
    /// The file must not be changed while it is open; replacing it by another one does no harm.
    pub fn open(path: &Path, verify: Verify, stop: Stop<'_>) -> Result<Self> {
        let failed = |error: io::Error| Error::io(path, &error);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "is a folder")));
        }
        // SAFETY: the documentation asks that nobody changes the file meanwhile.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let container = Self::parse(path.display().to_string(), Arc::new(map))?;
        if verify == Verify::Whole {
            container.verify(stop)?;
        }
        Ok(container)
    }

    /// Whether a file begins as those of lamina do.
    pub fn is_one(path: &Path) -> bool {
        let mut magic = [0; MAGIC.len()];
        let read =
            File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut magic));
        read.is_ok() && magic == *MAGIC
    }

    fn parse(name: String, map: Arc<Mmap>) -> Result<Self> {
        let failed = |reason: String| Error::Format { what: name.clone(), line: 0, reason };
        let cut = || failed(format!("expected at least {HEADER} bytes, got {}", map.len()));
        let header = map.get(..HEADER).ok_or_else(cut)?;
        if !header.starts_with(MAGIC) {
            return Err(failed("expected a binary file of lamina's n-grams, got another".into()));
        }
        let version = short(header, 8);
        if version != VERSION {
            return Err(failed(format!("expected version {VERSION}, got {version}")));
        }
        if checksum(&header[..HEADER - 8]) != long(header, HEADER - 8) {
            return Err(failed("the header is damaged: its checksum differs".into()));
        }
        let kind = short(header, 12);
        let kind = Kind::from_number(kind)
            .ok_or_else(|| failed(format!("expected a kind from 1 to 4, got {kind}")))?;
        let order = short(header, 16) as usize;
        if !(1..=MAX_ORDER).contains(&order) {
            return Err(failed(format!("expected an order from 1 to {MAX_ORDER}, got {order}")));
        }
        let (start, bytes, whole) = (long(header, 24), long(header, 32), long(header, 40));
        if whole != map.len() as u64 {
            return Err(failed(format!("expected {whole} bytes, got {}", map.len())));
        }
        let end = start.checked_add(bytes).filter(|&end| end <= whole);
        let Some(end) = end.filter(|_| start >= HEADER as u64) else {
            return Err(failed("the table of sections leaves the file".into()));
        };
        let table = &map[start as usize..end as usize];
        if checksum(table) != long(header, 48) {
            return Err(failed("the table of sections is damaged: its checksum differs".into()));
        }
        let rest = table.len().checked_sub(order * 8);
        let Some(rest) = rest.filter(|rest| rest.is_multiple_of(ENTRY)) else {
            return Err(failed(format!("a table of {} bytes for order {order}", table.len())));
        };
        let counts = (0..order).map(|length| long(table, length * 8)).collect();
        let mut entries = Vec::with_capacity(rest / ENTRY);
        for entry in table[order * 8..].chunks_exact(ENTRY) {
            let entry = Entry::parse(entry);
            let end = entry.offset.checked_add(entry.bytes).filter(|&end| end <= start);
            let inside = end.is_some() && entry.offset >= HEADER as u64;
            if !inside || !entry.offset.is_multiple_of(ALIGNMENT as u64) {
                let reason = format!("section {} leaves its place in the file", entry.label());
                return Err(failed(reason));
            }
            entries.push(entry);
        }
        let flags = short(header, 20);
        Ok(Self { name, kind, flags, counts, entries, map: Arc::clone(&map) })
    }

    /// Compares the contents of all sections with their checksums.
    pub fn verify(&self, stop: Stop<'_>) -> Result<()> {
        for entry in &self.entries {
            let bytes = &self.map[entry.range()];
            let mut running = Running::default();
            for group in bytes.chunks(BLOCK * BLOCKS) {
                check(stop)?;
                running.add(group);
            }
            if running.finish() != entry.checksum {
                let reason = format!("section {} is damaged: its checksum differs", entry.label());
                return Err(self.failed(reason));
            }
        }
        Ok(())
    }

    /// Fails unless the file is of `kind`.
    pub fn expect(&self, kind: Kind) -> Result<()> {
        if self.kind == kind {
            return Ok(());
        }
        Err(self.failed(format!("expected {}, got {}", kind.name(), self.kind.name())))
    }

    /// Words in the longest n-grams.
    pub fn order(&self) -> usize {
        self.counts.len()
    }

    /// An error that names the file.
    pub fn failed(&self, reason: impl Into<String>) -> Error {
        Error::Format { what: self.name.clone(), line: 0, reason: reason.into() }
    }

    fn entry(&self, name: &str, length: usize) -> Result<&Entry> {
        let wanted = (padded(name), length as u32);
        let entry = self.entries.iter().find(|entry| (entry.name, entry.length) == wanted);
        entry.ok_or_else(|| self.failed(format!("lacks the section {name}[{length}]")))
    }

    /// The section `name` of n-grams of `length` words, as it lies in the file.
    pub fn array<T: Plain>(&self, name: &str, length: usize) -> Result<Buffer<T>> {
        let entry = self.entry(name, length)?;
        Buffer::mapped(&self.map, entry.range()).ok_or_else(|| {
            let (label, size) = (entry.label(), size_of::<T>());
            self.failed(format!(
                "section {label}: expected values of {size} bytes, got {} bytes",
                entry.bytes
            ))
        })
    }

    /// The same, which must hold `len` values.
    pub fn array_of<T: Plain>(&self, name: &str, length: usize, len: usize) -> Result<Buffer<T>> {
        let array = self.array(name, length)?;
        if array.len() != len {
            let got = array.len();
            return Err(
                self.failed(format!("section {name}[{length}]: expected {len} values, got {got}"))
            );
        }
        Ok(array)
    }

    /// How many n-grams of `length` words there are; an error where not even a byte of the file
    /// falls to each, so that nothing is allocated on the word of the file.
    pub fn count(&self, length: usize) -> Result<usize> {
        let count = self.counts[length - 1];
        if count <= self.map.len() as u64 && count < u64::from(u32::MAX) {
            return Ok(count as usize);
        }
        Err(self.failed(format!("{count} n-grams of length {length} in {} bytes", self.map.len())))
    }
}

impl Entry {
    fn parse(bytes: &[u8]) -> Self {
        let mut name = [0; NAME];
        name.copy_from_slice(&bytes[..NAME]);
        Self {
            name,
            length: short(bytes, NAME),
            offset: long(bytes, 16),
            bytes: long(bytes, 24),
            checksum: long(bytes, 32),
        }
    }

    /// Only of entries that were found to lie in the file.
    fn range(&self) -> std::ops::Range<usize> {
        self.offset as usize..(self.offset + self.bytes) as usize
    }

    fn label(&self) -> String {
        let name: Vec<u8> = self.name.iter().copied().take_while(|&byte| byte != 0).collect();
        format!("{}[{}]", name.escape_ascii(), self.length)
    }
}

fn short(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    little_endian(&bytes[at..at + 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[u32]) -> PathBuf {
        let name = format!("lamina-container-{}-{}", std::process::id(), values.len());
        let path = std::env::temp_dir().join(name);
        write(&path, Kind::Counts, 7, &|| false, |writer| {
            writer.section("empty", 0, &[0u64; 0])?;
            writer.begin("values", 2)?;
            values.chunks(1000).try_for_each(|part| writer.extend(part))?;
            Ok((vec![5, values.len() as u64], ()))
        })
        .unwrap();
        path
    }

    #[test]
    fn sections_come_back() {
        for len in [1, 3000, 1_000_000] {
            let values: Vec<u32> = (0..len).collect();
            let path = written(&values);
            assert!(Container::is_one(&path));
            let container = Container::open(&path, Verify::Whole, &|| false).unwrap();
            assert_eq!((container.kind, container.flags), (Kind::Counts, 7));
            assert_eq!(container.counts, [5, u64::from(len)]);
            assert_eq!(*container.array_of::<u32>("values", 2, values.len()).unwrap(), values);
            assert!(container.array::<u8>("empty", 0).unwrap().is_empty());
            let error = container.array::<u8>("values", 1).unwrap_err().to_string();
            assert!(error.ends_with("lacks the section values[1]"), "{error}");
            let error = container.array_of::<u32>("values", 2, 7).unwrap_err().to_string();
            assert!(error.contains("values[2]: expected 7 values, got"), "{error}");
            let error = container.expect(Kind::Trie).unwrap_err().to_string();
            assert!(
                error.ends_with("expected a model as a trie, got counts of n-grams"),
                "{error}"
            );
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        let path = written(&(0..40).collect::<Vec<u32>>());
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(Container::open(&path, Verify::Whole, &|| false).is_err(), "{at}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
