//! Strings and their numbers.

use crate::hash::hash;
use crate::{Error, Result};

/// Strings numbered in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// One after the other.
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
    /// Open addressing: part of the hash, and number plus one or zero.
    slots: Vec<(u32, u32)>,
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.ends == other.ends
    }
}

impl Names {
    /// No strings yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string `id`.
    ///
    /// # Panics
    /// Where there is none.
    pub fn get(&self, id: u32) -> &str {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.text[start..self.ends[id]]
    }

    /// All strings in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|id| self.get(id))
    }

    /// All strings one after the other, and where each ends.
    pub fn parts(&self) -> (&str, &[usize]) {
        (&self.text, &self.ends)
    }

    /// What [`Self::parts`] gave; `what` names it in errors.
    pub fn from_parts(what: &str, bytes: &[u8], ends: &[i64]) -> Result<Self> {
        let format = |reason: String| Error::Format { what: what.into(), line: 0, reason };
        let text = std::str::from_utf8(bytes).map_err(|error| format(error.to_string()))?;
        if ends.len() >= u32::MAX as usize {
            return Err(format(format!("expected fewer than 2^32 strings, got {}", ends.len())));
        }
        if ends.last().copied().unwrap_or(0) != bytes.len() as i64 {
            let last = ends.last().copied().unwrap_or(0);
            return Err(format(format!(
                "{} bytes, but the last string ends at {last}",
                text.len()
            )));
        }
        let mut start = 0;
        let mut names = Self::new();
        names.reserve(ends.len(), bytes.len());
        for (id, &end) in ends.iter().enumerate() {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            let Some(name) = text.get(start..end) else {
                return Err(format(format!("string {id} ends outside, or inside a character")));
            };
            if names.add(name) as usize != id {
                return Err(format(format!("the string {name:?} occurs twice")));
            }
            start = end;
        }
        Ok(names)
    }

    fn reserve(&mut self, count: usize, bytes: usize) {
        self.text.reserve(bytes);
        self.ends.reserve(count);
        let slots = (count * 2 + 1).next_power_of_two().max(64);
        if slots > self.slots.len() {
            self.rehash(slots);
        }
    }

    /// The number of `name`.
    #[inline]
    pub fn id(&self, name: &str) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        match self.slots[self.slot(name, hash(name.as_bytes()))].1 {
            0 => None,
            place => Some(place - 1),
        }
    }

    /// The number of `name`, which is added where it is new.
    #[inline]
    pub fn add(&mut self, name: &str) -> u32 {
        if (self.ends.len() + 1) * 2 > self.slots.len() {
            self.rehash((self.slots.len() * 4).max(64));
        }
        let hash = hash(name.as_bytes());
        let slot = self.slot(name, hash);
        if self.slots[slot].1 != 0 {
            return self.slots[slot].1 - 1;
        }
        let id = self.ends.len() as u32;
        self.text.push_str(name);
        self.ends.push(self.text.len());
        self.slots[slot] = (tag(hash), id + 1);
        id
    }

    #[inline]
    fn slot(&self, name: &str, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let (other, place) = self.slots[slot];
            if place == 0 || other == tag(hash) && self.get(place - 1) == name {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn rehash(&mut self, count: usize) {
        let mut slots = vec![(0, 0); count];
        for id in 0..self.ends.len() as u32 {
            let hash = hash(self.get(id).as_bytes());
            let mut slot = hash as usize & (count - 1);
            while slots[slot].1 != 0 {
                slot = (slot + 1) & (count - 1);
            }
            slots[slot] = (tag(hash), id + 1);
        }
        self.slots = slots;
    }
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_arrival() {
        let mut names = Names::new();
        for i in 0..1000 {
            assert_eq!(names.add(&format!("name {i}")), i);
        }
        assert_eq!(names.add("name 7"), 7);
        assert_eq!(names.add(""), 1000);
        assert_eq!(names.id("name 999"), Some(999));
        assert_eq!(names.id("name 1000"), None);
        assert_eq!(names.get(12), "name 12");
        let (text, ends) = names.parts();
        let ends: Vec<i64> = ends.iter().map(|&end| end as i64).collect();
        assert_eq!(Names::from_parts("names", text.as_bytes(), &ends).unwrap(), names);
    }

    #[test]
    fn broken_parts_are_refused() {
        let parts = |bytes: &[u8], ends: &[i64]| {
            Names::from_parts("names", bytes, ends).unwrap_err().to_string()
        };
        assert!(parts(b"ab", &[1]).contains("2 bytes, but the last string ends at 1"));
        assert!(parts(b"aa", &[1, 2]).contains("occurs twice"));
        assert!(parts(b"abc", &[2, 1, 3]).contains("ends outside"));
        assert!(parts("\u{e9}".as_bytes(), &[1, 2]).contains("inside a character"));
        assert!(parts(b"\xff", &[1]).contains("utf-8"));
        assert!(Names::from_parts("names", b"", &[]).unwrap().is_empty());
    }
}
