//! A lane of HTTP/2: many requests on few connections, each a task of a small runtime inside the lane's thread.
//!
//! Pacing does not use the runtime's timer, which counts whole milliseconds, but a timer of the kernel's.

use super::exchange::{Answer, End, Exchange, Flow};
use super::lane::cause;
use super::measures::Measures;
use super::plan::Plan;
use super::timer::Timer;
use super::tls;
use bytes::Bytes;
use eventbench_core::driver::{DriverError, Session};
use eventbench_core::host::Clock;
use eventbench_core::lane::{Lane, Wake};
use eventbench_core::metric::{MetricKey, MetricValue};
use eventbench_core::observe::Causes;
use h2::client::SendRequest;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// Requests that are begun before what has come is looked at.
const BATCH: usize = 64;
/// What a server may send of one response before it is told that it was read.
const WINDOW_BYTES: u32 = 1 << 20;
/// The same for a whole connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How many requests a connection is expected to carry at once while the server has not said so.
const EXPECTED_STREAMS: u32 = 100;
/// How often a request that the server refused unseen is sent again.
const ATTEMPTS: u32 = 8;
/// After a connection that could not be made, a closed loop waits for so long: it would do nothing but fail.
const PAUSE_NS: u64 = 10_000_000;

/// The session of one lane.
pub struct H2Lane {
    plan: Arc<Plan>,
    lanes: u32,
    most: u32,
    measures: Option<Measures>,
    epoch_ms: i64,
    sent_bytes: u64,
    received_bytes: u64,
}

/// What the tasks of a lane share. All of them run on its one thread.
struct Shared {
    plan: Arc<Plan>,
    clock: Clock,
    measures: RefCell<Measures>,
    links: RefCell<Vec<Rc<Link>>>,
    most: u32,
    opening: Cell<u32>,
    waiting: Cell<u32>,
    /// Something was settled, or a connection is there: who waits may look again.
    room: Notify,
    done: RefCell<Vec<(Exchange, End, u64)>>,
    wake: Notify,
    pause_until_ns: Cell<u64>,
    sent_bytes: Rc<Cell<u64>>,
    received_bytes: Rc<Cell<u64>>,
}

/// A connection.
struct Link {
    send: SendRequest<Bytes>,
    /// Requests that are on it.
    active: Cell<u32>,
}

/// A place on a connection, free again when this is dropped.
struct Seat(Rc<Link>);

impl Seat {
    fn on(link: &Rc<Link>) -> Seat {
        link.active.set(link.active.get() + 1);
        Seat(link.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

impl H2Lane {
    /// A lane with at most `most` connections.
    pub fn new(plan: Arc<Plan>, lanes: u32, most: u32, epoch_ms: i64) -> Self {
        Self {
            measures: Some(Measures::new(epoch_ms, plan.tasks.any_stream())),
            plan,
            lanes,
            most,
            epoch_ms,
            sent_bytes: 0,
            received_bytes: 0,
        }
    }

    async fn run(&self, shared: &Rc<Shared>, lane: &mut Lane) -> io::Result<()> {
        let timer = Timer::new()?;
        let mut busy = 0u32;
        loop {
            let mut sent = 0;
            while sent < BATCH {
                let now = lane.clock.now_ns();
                if lane.workers().is_some() && now < shared.pause_until_ns.get() {
                    break;
                }
                let Some(mut ticket) = lane.take(now) else { break };
                lane.sent(&mut ticket, now);
                sent += 1;
                busy += 1;
                let index = self.plan.tasks.of_stream(ticket.stream, self.lanes);
                let task = self.plan.tasks.get(index);
                let (mut head, mut body) = (Vec::new(), Vec::new());
                let content = lane.content(&ticket, now);
                if let Some(template) = &task.body {
                    template.render(&content, &mut body);
                }
                let request = &self.plan.requests[usize::from(index)];
                let mut builder = http::Request::builder().method(task.method.as_str());
                request.path.render(&content, &mut head);
                let scheme = if self.plan.target.tls { "https" } else { "http" };
                let path = String::from_utf8_lossy(&head);
                builder = builder.uri(format!("{scheme}://{}{path}", self.plan.target.authority));
                for (name, value) in &request.headers {
                    let mut rendered = Vec::new();
                    value.render(&content, &mut rendered);
                    builder = builder.header(name, rendered);
                }
                if task.body.is_some() {
                    builder = builder.header("content-length", body.len());
                }
                let mut exchange = Exchange::new(ticket, index, task, &mut shared.measures.borrow_mut());
                exchange.asked(&body);
                let asked = builder.body(()).map(|request| (request, Bytes::from(body)));
                tokio::task::spawn_local(converse(shared.clone(), exchange, asked));
            }
            if sent > 0 {
                lane.publish_progress(sent as u64);
            }
            for (exchange, how, at_ns) in shared.done.take() {
                busy -= 1;
                let task = self.plan.tasks.get(exchange.task() as u16);
                let (ticket, outcome) = exchange.end(how, at_ns, task, &mut shared.measures.borrow_mut());
                lane.settle(ticket, outcome, at_ns);
            }
            let now = lane.clock.now_ns();
            if lane.signals.stopped() || now >= lane.deadline_ns {
                return Ok(());
            }
            let until = match lane.wake() {
                Wake::Ended if busy == 0 => return Ok(()),
                Wake::Ended | Wake::WhenSettled => lane.deadline_ns,
                Wake::At(due) if lane.workers().is_some() => due.max(shared.pause_until_ns.get()),
                Wake::At(due) => due,
            };
            if until <= now {
                // More is due: the tasks have their turn in between.
                tokio::task::yield_now().await;
                continue;
            }
            let until = until.min(now + 200_000_000);
            tokio::select! {
                waited = timer.until(until) => waited?,
                () = shared.wake.notified() => {}
            }
        }
    }
}

/// Asks, and reads the response to its end.
async fn converse(shared: Rc<Shared>, mut exchange: Exchange, asked: http::Result<(http::Request<()>, Bytes)>) {
    let how = match asked {
        Err(e) => End::Malformed(format!("the request cannot be made: {e}")),
        Ok((request, body)) => {
            let limit = Duration::from_nanos(shared.plan.timeout_ns);
            let talk = talk(&shared, &mut exchange, request, body);
            tokio::time::timeout(limit, talk).await.unwrap_or(End::TimedOut)
        }
    };
    let at_ns = shared.clock.now_ns();
    shared.done.borrow_mut().push((exchange, how, at_ns));
    shared.room.notify_waiters();
    shared.wake.notify_one();
}

async fn talk(shared: &Rc<Shared>, exchange: &mut Exchange, request: http::Request<()>, body: Bytes) -> End {
    let plan = shared.plan.clone();
    let task = plan.tasks.get(exchange.task() as u16);
    let lost = |e: h2::Error| match e.get_io() {
        Some(io) => End::Lost(cause(io, false).0, io.to_string()),
        None if e.is_remote() && e.is_reset() => End::Lost("stream reset", e.to_string()),
        None if e.is_remote() => End::Lost("closed without an answer", e.to_string()),
        None => End::Malformed(e.to_string()),
    };
    let mut attempts = 0;
    let (_seat, response) = loop {
        let seat = match acquire(shared, exchange.ticket().measured).await {
            Ok(seat) => seat,
            Err(end) => return end,
        };
        match ask(&seat, request.clone(), body.clone()).await {
            Ok(response) => break (seat, response),
            // More at once than the server takes, before it had said how many those are: it has not looked at this one.
            Err(e) if e.reason() == Some(h2::Reason::REFUSED_STREAM) && attempts < ATTEMPTS => attempts += 1,
            Err(e) => return lost(e),
        }
    };
    let header = |name: &str| response.headers().get(name).map_or(&b""[..], |v| v.as_bytes());
    let answer = Answer {
        status: response.status().as_u16(),
        content_type: header("content-type"),
        encoding: header("content-encoding"),
        location: header("location"),
    };
    exchange.head(answer, shared.clock.now_ns(), task, &mut shared.measures.borrow_mut());
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(e) => return lost(e),
        };
        let now = shared.clock.now_ns();
        if exchange.data(&piece, now, task, &mut shared.measures.borrow_mut()) == Flow::Stop {
            return End::GivenUp;
        }
        // The window only ever grows by what was taken from it.
        let _ = body.flow_control().release_capacity(piece.len());
    }
    End::Complete
}

async fn ask(
    seat: &Seat,
    request: http::Request<()>,
    body: Bytes,
) -> Result<http::Response<h2::RecvStream>, h2::Error> {
    let mut link = seat.0.send.clone().ready().await?;
    let (response, mut out) = link.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        out.send_data(body, true)?;
    }
    response.await
}

/// A connection with room for one more request; makes one where there is none.
async fn acquire(shared: &Rc<Shared>, measured: bool) -> Result<Seat, End> {
    loop {
        // Made before the look, so that no sign is missed in between.
        let notified = shared.room.notified();
        if let Some(seat) = free_seat(shared) {
            return Ok(seat);
        }
        let there = shared.links.borrow().len() as u32 + shared.opening.get();
        let served = shared.opening.get() * EXPECTED_STREAMS;
        if there >= shared.most || shared.waiting.get() < served {
            shared.waiting.set(shared.waiting.get() + 1);
            let _waits = Leave(&shared.waiting);
            notified.await;
            continue;
        }
        shared.opening.set(shared.opening.get() + 1);
        let opened = {
            let _opens = Leave(&shared.opening);
            open(shared, measured).await
        };
        let seat = opened.map(|send| {
            let link = Rc::new(Link {
                send,
                active: Cell::new(0),
            });
            shared.links.borrow_mut().push(link.clone());
            Seat::on(&link)
        });
        // Those who wait look again, whichever way it went.
        shared.room.notify_waiters();
        return seat;
    }
}

fn free_seat(shared: &Shared) -> Option<Seat> {
    let links = shared.links.borrow();
    let has_room = |l: &&Rc<Link>| (l.active.get() as usize) < l.send.current_max_send_streams();
    links.iter().find(has_room).map(Seat::on)
}

/// Counts down when a wait has ended, also when it was given up.
struct Leave<'a>(&'a Cell<u32>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn open(shared: &Rc<Shared>, measured: bool) -> Result<SendRequest<Bytes>, End> {
    let begun_ns = shared.clock.now_ns();
    let refused = |e: io::Error| {
        shared.pause_until_ns.set(shared.clock.now_ns() + PAUSE_NS);
        let (cause, advice) = cause(&e, true);
        End::Lost(cause, format!("{e}{advice}"))
    };
    let socket = TcpStream::connect(shared.plan.address).await.map_err(refused)?;
    socket.set_nodelay(true).map_err(refused)?;
    let link = match &shared.plan.tls {
        None => greet(shared, socket).await?,
        Some((config, name)) => {
            let connector = tokio_rustls::TlsConnector::from(config.clone());
            let failed = |e: io::Error| End::Lost("TLS", tls::explain(&e));
            let stream = connector.connect(name.clone(), socket).await.map_err(failed)?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                let why = "the server does not offer HTTP/2; leave out http = \"2\"".to_owned();
                return Err(End::Lost("TLS", why));
            }
            greet(shared, stream).await?
        }
    };
    if measured {
        let now = shared.clock.now_ns();
        shared.measures.borrow_mut().connect.record_between(begun_ns, now);
    }
    Ok(link)
}

async fn greet<T>(shared: &Rc<Shared>, stream: T) -> Result<SendRequest<Bytes>, End>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let counted = Counted {
        stream,
        sent: shared.sent_bytes.clone(),
        received: shared.received_bytes.clone(),
    };
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_max_send_streams(EXPECTED_STREAMS as usize)
        .max_header_list_size(64 << 10)
        .enable_push(false);
    let greeted = builder.handshake::<_, Bytes>(counted).await;
    let (link, connection) = greeted.map_err(|e| End::Lost("connection failed", e.to_string()))?;
    let shared = shared.clone();
    tokio::task::spawn_local(async move {
        // Each request under way hears of the error itself.
        let _ = connection.await;
        shared.links.borrow_mut().retain(|link| !is_gone(link));
        shared.room.notify_waiters();
    });
    Ok(link)
}

fn is_gone(link: &Link) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    matches!(link.send.clone().poll_ready(&mut context), Poll::Ready(Err(_)))
}

/// A stream whose bytes are counted.
struct Counted<T> {
    stream: T,
    sent: Rc<Cell<u64>>,
    received: Rc<Cell<u64>>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let n = (buffer.filled().len() - before) as u64;
        self.received.set(self.received.get() + n);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = &polled {
            self.sent.set(self.sent.get() + *n as u64);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Session for H2Lane {
    fn drive(&mut self, lane: &mut Lane) -> Result<(), DriverError> {
        let failed = |e: io::Error| DriverError::new(format!("HTTP/2 with {}", self.plan.address), e);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let measures = self
            .measures
            .take()
            .unwrap_or_else(|| Measures::new(self.epoch_ms, self.plan.tasks.any_stream()));
        let shared = Rc::new(Shared {
            plan: self.plan.clone(),
            clock: lane.clock.clone(),
            measures: RefCell::new(measures),
            links: RefCell::default(),
            most: self.most,
            opening: Cell::new(0),
            waiting: Cell::new(0),
            room: Notify::new(),
            done: RefCell::default(),
            wake: Notify::new(),
            pause_until_ns: Cell::new(0),
            sent_bytes: Rc::default(),
            received_bytes: Rc::default(),
        });
        let tasks = LocalSet::new();
        let result = tasks.block_on(&runtime, self.run(&shared, lane)).map_err(failed);
        lane.publish_progress(0);
        // Tasks still under way are dropped, and with them their tickets: those count as abandoned.
        drop(tasks);
        self.sent_bytes = shared.sent_bytes.get();
        self.received_bytes = shared.received_bytes.get();
        self.measures = Some(shared.measures.replace(Measures::new(self.epoch_ms, false)));
        result
    }

    fn extras(&self) -> Vec<(&'static str, u64)> {
        vec![("wire.sent", self.sent_bytes), ("wire.received", self.received_bytes)]
    }

    fn measures(&mut self) -> Vec<(MetricKey, MetricValue)> {
        self.measures.as_mut().map(Measures::take).unwrap_or_default()
    }

    fn causes(&mut self) -> Causes {
        self.measures
            .as_mut()
            .map(|m| std::mem::take(&mut m.causes))
            .unwrap_or_default()
    }
}
