//! The bounded queue between whoever receives events and the writer.
//!
//! Events cross in groups: one lock for all that a wake-up brought. The writer says how many it wants before it is
//! woken, so that a batch that is still young costs no wake-up an event. A full queue blocks the receiver, which then
//! stops reading its socket: pressure goes back to the broker instead of into memory.

use super::event::Kind;
use crate::platform::monotonic_ns;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An event as it was received, not yet parsed.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) kind: Kind,
    pub(crate) payload: Bytes,
    /// Where the acknowledgement goes once the event is committed (JetStream).
    pub(crate) receipt: Option<async_nats::Subject>,
}

/// The queue was closed; nothing can be added any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    readable: Condvar,
    writable: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Received>,
    closed: bool,
    /// How many events the writer waits for; zero while it is not waiting.
    wanted: usize,
    blocked_producers: usize,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Queue {
        Queue {
            state: Mutex::default(),
            readable: Condvar::new(),
            writable: Condvar::new(),
            capacity: capacity.max(1),
        }
    }

    /// Adds all of `group`, blocking while the queue is full.
    ///
    /// # Errors
    /// [`Closed`]; what is left in `group` was not added.
    pub(crate) fn push_all(&self, group: &mut Vec<Received>) -> Result<(), Closed> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Closed);
            }
            let room = self.capacity.saturating_sub(state.items.len()).min(group.len());
            state.items.extend(group.drain(..room));
            // A full queue wakes the writer whatever it asked for: nothing more can come.
            if state.wanted > 0 && (state.items.len() >= state.wanted || !group.is_empty()) {
                state.wanted = 0;
                self.readable.notify_one();
            }
            if group.is_empty() {
                return Ok(());
            }
            state.blocked_producers += 1;
            state = self.writable.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.blocked_producers -= 1;
        }
    }

    /// Waits for the first event of a batch and moves at most `max` into `batch`. `false`: closed and empty.
    pub(crate) fn wait_for_first(&self, batch: &mut Vec<Received>, max: usize) -> bool {
        let mut state = self.lock();
        while state.items.is_empty() {
            if state.closed {
                return false;
            }
            state.wanted = 1;
            state = self.readable.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.move_into(batch, max, &mut state);
        true
    }

    /// Waits until at least `max` events are there or `deadline_ns` has come, then moves at most `max`.
    pub(crate) fn wait_until(&self, deadline_ns: u64, batch: &mut Vec<Received>, max: usize) {
        let mut state = self.lock();
        // With producers blocked on a full queue nothing more can come, even if the queue is smaller than `max`.
        while state.items.len() < max && state.items.len() < self.capacity && !state.closed {
            let left_ns = deadline_ns.saturating_sub(monotonic_ns());
            if left_ns == 0 {
                break;
            }
            state.wanted = max;
            let (waited, _) = self
                .readable
                .wait_timeout(state, Duration::from_nanos(left_ns))
                .unwrap_or_else(PoisonError::into_inner);
            state = waited;
        }
        self.move_into(batch, max, &mut state);
    }

    /// Moves at most `max` of the events that are waiting.
    pub(crate) fn take_waiting(&self, batch: &mut Vec<Received>, max: usize) {
        let mut state = self.lock();
        self.move_into(batch, max, &mut state);
    }

    /// Events waiting now, and whether the queue is closed.
    pub(crate) fn waiting(&self) -> (usize, bool) {
        let state = self.lock();
        (state.items.len(), state.closed)
    }

    /// Ends the queue: what is in it can still be taken, nothing can be added.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.readable.notify_all();
        self.writable.notify_all();
    }

    fn move_into(&self, batch: &mut Vec<Received>, max: usize, state: &mut State) {
        state.wanted = 0;
        let taken = state.items.len().min(max);
        batch.extend(state.items.drain(..taken));
        if taken > 0 && state.blocked_producers > 0 {
            self.writable.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn events(range: std::ops::Range<u32>) -> Vec<Received> {
        range
            .map(|n| Received {
                kind: Kind::ChatMessage,
                payload: n.to_string().into(),
                receipt: None,
            })
            .collect()
    }

    fn numbers(batch: &[Received]) -> Vec<u32> {
        batch
            .iter()
            .map(|event| std::str::from_utf8(&event.payload).unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn order_is_kept_and_max_respected() {
        let queue = Queue::new(100);
        queue.push_all(&mut events(0..5)).unwrap();
        let mut batch = Vec::new();
        assert!(queue.wait_for_first(&mut batch, 2));
        queue.take_waiting(&mut batch, 2);
        queue.wait_until(u64::MAX, &mut batch, 1);
        assert_eq!(numbers(&batch), [0, 1, 2, 3, 4]);
        assert_eq!(queue.waiting(), (0, false));
    }

    #[test]
    fn a_closed_queue_gives_what_it_holds_and_then_ends() {
        let queue = Queue::new(100);
        queue.push_all(&mut events(0..1)).unwrap();
        queue.close();
        assert_eq!(queue.push_all(&mut events(1..2)), Err(Closed));
        let mut batch = Vec::new();
        assert!(queue.wait_for_first(&mut batch, 10));
        queue.wait_until(u64::MAX, &mut batch, 10);
        assert!(!queue.wait_for_first(&mut batch, 10));
        assert_eq!(numbers(&batch), [0]);
    }

    #[test]
    fn a_full_queue_holds_its_bound_and_loses_nothing() {
        let queue = Arc::new(Queue::new(8));
        let producer = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                queue.push_all(&mut events(0..1_000)).unwrap();
                queue.close();
            }
        });
        let mut all = Vec::new();
        while queue.wait_for_first(&mut all, 3) {
            assert!(queue.waiting().0 <= 8);
            // The bound is below what is asked for: the full queue itself must end the wait.
            queue.wait_until(u64::MAX, &mut all, 50);
        }
        producer.join().unwrap();
        assert_eq!(numbers(&all), (0..1_000).collect::<Vec<_>>());
    }
}
