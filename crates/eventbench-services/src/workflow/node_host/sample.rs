//! A bounded sample of many values for a reply that must stay small: all of them while there is room, then every second,
//! every fourth, and so on. The greatest is kept apart, because thinning out would lose it.

/// The sample.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    room: usize,
    stride: u64,
    values: Vec<u64>,
    /// Values seen.
    pub(crate) count: u64,
    /// The greatest value seen; 0 of none.
    pub(crate) max: u64,
}

impl Sample {
    /// An empty sample of at most `room` values, at least 2.
    pub(crate) fn new(room: usize) -> Sample {
        Sample {
            room: room.max(2),
            stride: 1,
            values: Vec::new(),
            count: 0,
            max: 0,
        }
    }

    /// Takes a value.
    pub(crate) fn take(&mut self, value: u64) {
        self.max = self.max.max(value);
        if self.count.is_multiple_of(self.stride) {
            if self.values.len() == self.room {
                self.thin();
            }
            // After thinning, this one may not be one of the sample any more.
            if self.count.is_multiple_of(self.stride) {
                self.values.push(value);
            }
        }
        self.count += 1;
    }

    /// The values of the sample in the order in which they came.
    pub(crate) fn into_values(self) -> Vec<u64> {
        self.values
    }

    fn thin(&mut self) {
        let mut index = 0_usize;
        self.values.retain(|_| {
            index += 1;
            index % 2 == 1
        });
        self.stride *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_are_kept_while_there_is_room_and_evenly_spaced_ones_after_that() {
        for (count, expected) in [
            (0, vec![]),
            (4, vec![0, 1, 2, 3]),
            (5, vec![0, 2, 4]),
            (8, vec![0, 2, 4, 6]),
            (9, vec![0, 4, 8]),
            (33, vec![0, 16, 32]),
        ] {
            let mut sample = Sample::new(4);
            (0..count).for_each(|value| sample.take(value));
            assert_eq!((sample.count, sample.max), (count, count.saturating_sub(1)));
            assert_eq!(sample.into_values(), expected, "{count}");
        }
    }
}
