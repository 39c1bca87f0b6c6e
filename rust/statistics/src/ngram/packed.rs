//! Numbers of a few bits each, and where children begin in a little over two bits a child.

use super::container::{Container, Writer};
use crate::Result;
use crate::buffer::Buffer;

/// Bytes behind the last number, so that eight can be read anywhere.
const SLACK: usize = 8;

/// Numbers of `width` bits one after the other, at most 56.
#[derive(Debug, Clone)]
pub(super) struct Bits {
    bytes: Buffer<u8>,
    width: u32,
}

/// Bytes of `len` numbers of `width` bits.
pub(super) fn bytes_for(len: usize, width: u32) -> usize {
    (len * width as usize).div_ceil(8) + SLACK
}

impl Bits {
    /// `len` zeros.
    pub(super) fn zeros(len: usize, width: u32) -> Self {
        Self { bytes: vec![0; bytes_for(len, width)].into(), width }
    }

    /// Numbers that lie in a file; `None` where there are not `len`.
    pub(super) fn mapped(bytes: Buffer<u8>, len: usize, width: u32) -> Option<Self> {
        (bytes.len() == bytes_for(len, width)).then_some(Self { bytes, width })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lowest 57 bits, or more, from bit `at` on; zero past the end.
    #[inline(always)]
    fn eight(&self, at: usize) -> u64 {
        let eight = self.bytes.get(at / 8..at / 8 + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(eight.unwrap_or_default()) >> (at % 8)
    }

    /// `bits` bits of number `index` from its bit `from` on.
    #[inline(always)]
    pub(super) fn part(&self, index: usize, from: u32, bits: u32) -> u32 {
        let at = index * self.width as usize + from as usize;
        (self.eight(at) & ((1 << bits) - 1)) as u32
    }

    /// Sets number `index`, which is zero.
    pub(super) fn set(&mut self, index: usize, number: u64) {
        let at = index * self.width as usize;
        let (first, shifted) = (at / 8, u128::from(number) << (at % 8));
        for (byte, part) in self.bytes[first..].iter_mut().zip(shifted.to_le_bytes()).take(9) {
            *byte |= part;
        }
    }

    /// The address of number `index`, to be asked for.
    #[inline(always)]
    pub(super) fn address(&self, index: usize) -> *const u8 {
        self.bytes.as_ptr().wrapping_add(index * self.width as usize / 8)
    }
}

/// Ones between two positions that are kept.
const SAMPLE: usize = 64;
/// From so many bits on, the positions of all ones of a sample are kept.
const LONG: u64 = 2048;
/// Marks a sample whose positions are kept.
const KEPT: u64 = 1 << 63;

/// Where the children of each node begin: for each node a zero for each child and then a one.
#[derive(Debug, Clone)]
pub(super) struct Children {
    bits: Buffer<u64>,
    /// Position of every 64th one, or where the positions of all 64 are kept.
    samples: Buffer<u64>,
    kept: Buffer<u64>,
    children: usize,
}

impl Children {
    /// From how many children each node has.
    pub(super) fn new(counts: &[u32]) -> Self {
        let children: usize = counts.iter().map(|&count| count as usize).sum();
        let mut bits = vec![0u64; (counts.len() + children).div_ceil(64)];
        let (mut samples, mut kept) = (Vec::new(), Vec::new());
        let mut at = 0;
        for block in counts.chunks(SAMPLE) {
            let mut ones = Vec::with_capacity(block.len());
            for &count in block {
                at += u64::from(count);
                bits[at as usize / 64] |= 1 << (at % 64);
                ones.push(at);
                at += 1;
            }
            if ones[ones.len() - 1] - ones[0] >= LONG {
                samples.push(KEPT | kept.len() as u64);
                kept.extend(ones);
            } else {
                samples.push(ones[0]);
            }
        }
        Self { bits: bits.into(), samples: samples.into(), kept: kept.into(), children }
    }

    /// The position of the one of `node`.
    #[inline(always)]
    fn one(&self, node: usize) -> Option<u64> {
        let sample = *self.samples.get(node / SAMPLE)?;
        let mut left = node % SAMPLE;
        if sample & KEPT != 0 {
            return self.kept.get((sample & !KEPT) as usize + left).copied();
        }
        let mut word = sample as usize / 64;
        let mut bits = self.bits.get(word)? & (u64::MAX << (sample % 64));
        loop {
            let ones = bits.count_ones() as usize;
            if left < ones {
                break;
            }
            left -= ones;
            word += 1;
            bits = *self.bits.get(word)?;
        }
        for _ in 0..left {
            bits &= bits - 1;
        }
        Some((word * 64) as u64 + u64::from(bits.trailing_zeros()))
    }

    /// The children of `node`; none where the bits are damaged.
    #[inline(always)]
    pub(super) fn range(&self, node: u32) -> (u32, u32) {
        let node = node as usize;
        let start = match node {
            0 => 0,
            _ => self.one(node - 1).map_or(0, |one| (one + 1).saturating_sub(node as u64)),
        };
        let end = self.after(node, start);
        let end = end.min(self.children as u64);
        (start.min(end) as u32, end as u32)
    }

    /// Where the children of `node` end, which begin at `start`: at the next one.
    #[inline(always)]
    fn after(&self, node: usize, start: u64) -> u64 {
        let at = start + node as u64;
        let word = (at / 64) as usize;
        let Some(&bits) = self.bits.get(word) else { return start };
        match bits & (u64::MAX << (at % 64)) {
            0 => self.one(node).map_or(start, |one| one.saturating_sub(node as u64)),
            bits => (word * 64) as u64 + u64::from(bits.trailing_zeros()) - node as u64,
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        8 * (self.bits.len() + self.samples.len() + self.kept.len())
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>, length: usize) -> Result<()> {
        writer.section("children", length, &self.bits)?;
        writer.section("samples", length, &self.samples)?;
        writer.section("positions", length, &self.kept)
    }

    pub(super) fn read(
        file: &Container,
        length: usize,
        nodes: usize,
        children: usize,
    ) -> Result<Self> {
        let bits = file.array_of("children", length, (nodes + children).div_ceil(64))?;
        let samples = file.array_of("samples", length, nodes.div_ceil(SAMPLE))?;
        let kept = file.array("positions", length)?;
        Ok(Self { bits, samples, kept, children })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for width in [1, 7, 8, 25, 36, 56] {
            let numbers: Vec<u64> = (0..200u64)
                .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - width))
                .collect();
            let mut bits = Bits::zeros(numbers.len(), width);
            for (index, &number) in numbers.iter().enumerate() {
                bits.set(index, number);
            }
            for (index, &number) in numbers.iter().enumerate() {
                let low = width.min(17);
                assert_eq!(u64::from(bits.part(index, 0, low)), number & ((1 << low) - 1));
                let rest = (width - low).min(32);
                let high = number >> low & ((1 << rest) - 1);
                assert_eq!(u64::from(bits.part(index, low, rest)), high);
            }
        }
    }

    #[test]
    fn children_are_where_they_were() {
        let mut counts: Vec<u32> =
            (0..1000u32).map(|i| i.wrapping_mul(2_654_435_761) >> 30).collect();
        for (at, count) in [(0, 0), (63, 900), (64, 70_000), (500, 5_000), (999, 0)] {
            counts[at] = count;
        }
        let children = Children::new(&counts);
        let mut start = 0;
        for (node, &count) in (0..).zip(&counts) {
            assert_eq!(children.range(node), (start, start + count), "{node}");
            start += count;
        }
        assert_eq!(children.range(1000), (start, start));
        assert_eq!(Children::new(&[0]).range(0), (0, 0));
    }
}
