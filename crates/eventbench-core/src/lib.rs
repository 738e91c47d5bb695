//! Vocabulary and pure logic of eventbench: no sockets, no SQL, no terminal.
//!
//! Data flows one way: a [`plan`] gives each lane its [`arrival`] schedule, a lane's tickets are sent by a [`driver`],
//! what comes of them is kept by [`observe`], named and valued by [`metric`], judged by [`judge`] and kept in a
//! [`record`], from which every report is made.

pub mod arrival;
pub mod driver;
pub mod event;
pub mod host;
pub mod judge;
pub mod lane;
pub mod metric;
pub mod mix;
pub mod observe;
pub mod payload;
pub mod plan;
pub mod record;
pub mod stamp;
pub mod ticket;
pub mod trial;
pub mod units;
pub mod view;
