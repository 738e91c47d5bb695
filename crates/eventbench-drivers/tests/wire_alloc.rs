//! The promise that no message costs an allocation, counted.

// Functions beside the tests are tests too, though clippy does not see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use common::NatsServer;
use eventbench_drivers::wire::{Connection, Deadline, Message, Op, PollSet, encode};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One round: requests on all connections, answered by the first of them.
fn round(connections: &mut [Connection], set: &mut PollSet) {
    const REQUESTS: usize = 50;
    let until = Deadline::after(Duration::from_secs(20));
    let headers = b"NATS/1.0\r\nA: b\r\n\r\n";
    for connection in &mut connections[1..] {
        for _ in 0..REQUESTS {
            connection
                .hpub_frame("echo", Some(b"inbox.1"), headers, &[7; 128])
                .unwrap();
        }
        connection.flush(until).unwrap();
    }
    let expected = REQUESTS * (connections.len() - 1) * (connections.len() - 1);
    let mut answers = 0;
    while answers < expected {
        assert!(
            set.wait(&*connections, until).unwrap() > 0,
            "{answers} of {expected} answers"
        );
        for index in set.ready() {
            let connection = &mut connections[index];
            connection.poll_read(Deadline::NOW).unwrap();
            while let Some(answered) = connection.next_op_with(|op, out| match op {
                Op::Msg(Message {
                    reply: Some(reply),
                    payload,
                    ..
                }) => {
                    encode::publish(out, reply, None, payload);
                    0
                }
                Op::Msg(message) => usize::from(message.status().is_none()),
                _ => 0,
            }) {
                answers += answered.unwrap();
            }
            connection.flush(until).unwrap();
        }
    }
}

#[test]
fn messages_cost_no_allocation_after_set_up() {
    let server = NatsServer::start("");
    let mut connections: Vec<_> = (0..5)
        .map(|_| Connection::connect(&server.endpoint(), Duration::from_secs(20)).unwrap())
        .collect();
    for (index, connection) in connections.iter_mut().enumerate() {
        connection
            .sub(if index == 0 { "echo" } else { "inbox.1" }, None)
            .unwrap();
        connection.settle(Deadline::after(Duration::from_secs(20))).unwrap();
    }
    let mut set = PollSet::with_capacity(connections.len());
    for _ in 0..20 {
        round(&mut connections, &mut set);
    }
    let before = COUNT.get();
    for _ in 0..100 {
        round(&mut connections, &mut set);
    }
    assert_eq!(COUNT.get() - before, 0, "allocations in 100,000 messages");
}
