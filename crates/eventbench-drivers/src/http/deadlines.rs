//! Which of the requests under way was sent first: all have the same time-out, so the oldest is the next to run out.

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    behind: u32,
    sent_ns: u64,
    is_in: bool,
}

/// A list in the order of sending, from which any can be taken out at once.
#[derive(Debug)]
pub struct Deadlines {
    links: Vec<Link>,
    oldest: u32,
    newest: u32,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            links: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl Deadlines {
    /// Puts a slot at the end.
    pub fn push(&mut self, slot: u32, sent_ns: u64) {
        self.remove(slot);
        let place = slot as usize;
        if self.links.len() <= place {
            let empty = Link {
                before: NONE,
                behind: NONE,
                sent_ns: 0,
                is_in: false,
            };
            self.links.resize(place + 1, empty);
        }
        self.links[place] = Link {
            before: self.newest,
            behind: NONE,
            sent_ns,
            is_in: true,
        };
        match self.links.get_mut(self.newest as usize) {
            Some(last) => last.behind = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    /// Takes a slot out, wherever it stands.
    pub fn remove(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize).filter(|l| l.is_in) else {
            return;
        };
        link.is_in = false;
        let Link { before, behind, .. } = *link;
        match self.links.get_mut(before as usize) {
            Some(link) => link.behind = behind,
            None => self.oldest = behind,
        }
        match self.links.get_mut(behind as usize) {
            Some(link) => link.before = before,
            None => self.newest = before,
        }
    }

    /// The slot that was put in first, and when.
    pub fn oldest(&self) -> Option<(u32, u64)> {
        self.links
            .get(self.oldest as usize)
            .map(|link| (self.oldest, link.sent_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_queue_from_whose_middle_one_can_go(steps in proptest::collection::vec((0u32..8, any::<bool>()), 0..60)) {
            let mut list = Deadlines::default();
            let mut model: Vec<(u32, u64)> = Vec::new();
            for (at, (slot, put)) in steps.into_iter().enumerate() {
                model.retain(|m| m.0 != slot);
                if put {
                    model.push((slot, at as u64));
                    list.push(slot, at as u64);
                } else {
                    list.remove(slot);
                }
                prop_assert_eq!(list.oldest(), model.first().copied());
            }
        }
    }
}
