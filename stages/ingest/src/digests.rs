//! What came before, told by digests: 14 bytes each.

/// Half of a digest is enough to tell a few million texts or images apart.
pub(crate) fn digest(bytes: &[u8]) -> u64 {
    let digest = blake3::hash(bytes);
    digest.as_bytes().iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}

/// Digests in the order in which they came.
#[derive(Debug)]
pub(crate) struct Digests {
    all: Vec<u64>,
    /// Where each came first: places in the order, counted from 1, each in the first free slot from that of its digest on.
    slots: Vec<u32>,
}

impl Digests {
    /// Before any of so many; there may be more.
    pub(crate) fn of(count: usize) -> Self {
        Self { all: Vec::with_capacity(count), slots: vec![0; slots_for(count)] }
    }

    /// Adds one; where it came before, its first place is returned.
    pub(crate) fn add(&mut self, digest: u64) -> Option<usize> {
        self.all.push(digest);
        if slots_for(self.all.len()) > self.slots.len() {
            self.slots = vec![0; slots_for(2 * self.all.len())];
            for place in 0..self.all.len() - 1 {
                self.first(place);
            }
        }
        self.first(self.all.len() - 1)
    }

    /// The first place with the digest of this one; none where that is this, which is remembered.
    fn first(&mut self, place: usize) -> Option<usize> {
        let digest = self.all[place];
        let mut slot = (digest % self.slots.len() as u64) as usize;
        loop {
            match self.slots[slot] as usize {
                0 => {
                    self.slots[slot] = place as u32 + 1;
                    return None;
                }
                first if self.all[first - 1] == digest => return Some(first - 1),
                _ => slot = (slot + 1) % self.slots.len(),
            }
        }
    }
}

/// Slots for so many: three quarters of them are taken at most.
fn slots_for(count: usize) -> usize {
    count + count / 3 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_digest_is_found_at_its_first_place_however_many_there_are() {
        let mut digests = Digests::of(1);
        for at in 0..1000_usize {
            let first = at % 300;
            assert_eq!(digests.add(digest(&first.to_le_bytes())), (first < at).then_some(first));
        }
    }
}
