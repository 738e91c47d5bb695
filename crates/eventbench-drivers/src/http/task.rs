//! What is asked: one request, or several in given proportions, each with its templates.

use super::settings::{Headers, Http, Protocol, Reuse, Statuses, TaskEntry};
use super::target::Target;
use eventbench_core::payload::Template;
use eventbench_core::plan::{Settings, SettingsError};
use eventbench_core::trial::{StreamSpec, Variables};
use memchr::memmem::Finder;

/// How large an event may be when nothing is said.
const MOST_EVENT_BYTES: u32 = 1 << 20;

/// How a response is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// As a body.
    Body,
    /// As a stream of events.
    Events,
    /// As a stream of events of the AG-UI protocol.
    AgUi,
}

/// One kind of request.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// Its method.
    pub method: String,
    /// Its path as it stands in the settings.
    path: String,
    /// Its headers as they stand there.
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Template>,
    /// How its response is read.
    pub reads: Reads,
    /// A text that the response must hold.
    pub expect: Option<Finder<'static>>,
    /// Statuses that count as success; none stands for 200 to 299.
    statuses: Vec<u16>,
    /// How many events a stream must bring.
    pub events: Option<u32>,
    /// The largest event.
    pub most_event_bytes: usize,
}

impl Task {
    /// Whether a status counts as success.
    #[inline]
    pub fn expects_status(&self, status: u16) -> bool {
        if self.statuses.is_empty() {
            (200..300).contains(&status)
        } else {
            self.statuses.contains(&status)
        }
    }
}

/// What a request of a task begins with, when the target is known.
#[derive(Debug)]
pub struct Request {
    /// The first line and the headers, up to and without Content-Length.
    pub head: Template,
    /// The path alone.
    pub path: Template,
    /// Headers with their values, without those that HTTP/2 forbids.
    pub headers: Vec<(String, Template)>,
}

/// A checked list of tasks, and in which order they follow each other.
#[derive(Debug, Clone)]
pub struct Tasks {
    tasks: Vec<Task>,
    slots: Vec<u16>,
}

impl Tasks {
    /// Reads the request, or the tasks, of a driver's settings.
    pub fn read(settings: &Settings, own: &Http, streams: bool) -> Result<Tasks, SettingsError> {
        let single = own.tasks.is_empty();
        if !single {
            for key in ["method", "path", "body"] {
                if settings.get(key).is_some() {
                    return Err(settings.error(
                        key,
                        format!("`{key}` stands in each of the `tasks` where there are some"),
                    ));
                }
            }
        }
        let only;
        let entries: &[TaskEntry] = if single {
            only = [TaskEntry {
                name: "all".to_owned(),
                weight: 1,
                method: own.method.clone(),
                path: own.path.clone(),
                headers: None,
                body: own.body.clone(),
                stream: None,
                expect_status: None,
                expect: None,
                events: None,
            }];
            &only
        } else {
            &own.tasks
        };
        let mut tasks = Vec::new();
        for entry in entries {
            if entry.weight == 0 || entry.weight > 1000 {
                let message = format!("\"{}\": the weight must lie between 1 and 1000", entry.name);
                return Err(settings.error("tasks", message));
            }
            let checked = task(own, entry, streams).map_err(|(key, message)| {
                let message = if single {
                    message
                } else {
                    format!("\"{}\": {message}", entry.name)
                };
                settings.error(if single { key } else { "tasks" }, message)
            })?;
            tasks.push(checked);
        }
        let slots = crate::mix::spread(&entries.iter().map(|e| e.weight).collect::<Vec<_>>());
        Ok(Tasks { tasks, slots })
    }

    /// The streams: each lane has one for every slot of the mix.
    pub fn streams(&self, lanes: u32) -> Vec<StreamSpec> {
        (0..self.slots.len() as u32 * lanes)
            .map(|stream| StreamSpec {
                name: self.get(self.of_stream(stream, lanes)).name.clone(),
            })
            .collect()
    }

    /// The index of the task of a stream.
    #[inline]
    pub fn of_stream(&self, stream: u32, lanes: u32) -> u16 {
        self.slots[(stream / lanes) as usize]
    }

    /// A task by its index.
    #[inline]
    pub fn get(&self, index: u16) -> &Task {
        &self.tasks[usize::from(index)]
    }

    /// Whether any of them reads a stream of events.
    pub fn any_stream(&self) -> bool {
        self.tasks.iter().any(|t| t.reads != Reads::Body)
    }

    /// What the requests begin with.
    ///
    /// # Errors
    /// In words: a variable that is not known, or a field that does not exist.
    pub fn requests(&self, target: &Target, reuse: Reuse, variables: &Variables) -> Result<Vec<Request>, String> {
        self.tasks
            .iter()
            .map(|t| request(t, target, reuse, variables))
            .collect()
    }
}

type Blame = (&'static str, String);

fn task(own: &Http, entry: &TaskEntry, streams: bool) -> Result<Task, Blame> {
    let body = entry
        .body
        .as_deref()
        .map(Template::parse)
        .transpose()
        .map_err(|e| ("body", e))?;
    let default = if body.is_some() { "POST" } else { "GET" };
    let method = entry.method.as_deref().unwrap_or(default).to_owned();
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) || method == "CONNECT" {
        return Err((
            "method",
            format!("\"{}\" is no method such as GET or POST", method.escape_debug()),
        ));
    }
    let path = entry.path.clone().unwrap_or_default();
    if !path.is_empty() && !path.starts_with(['/', '?']) {
        return Err((
            "path",
            format!("\"{}\" does not begin with a slash", path.escape_debug()),
        ));
    }
    if path.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#') {
        let message = format!(
            "\"{}\" holds a space or a control character; write %20",
            path.escape_debug()
        );
        return Err(("path", message));
    }
    Template::parse(&path).map_err(|e| ("path", e))?;
    let mut headers = listed(own.headers.as_ref())?;
    for (name, value) in listed(entry.headers.as_ref())? {
        headers.retain(|h| !h.0.eq_ignore_ascii_case(&name));
        headers.push((name, value));
    }
    let reads = match (entry.stream.or(own.stream).unwrap_or(streams), own.protocol) {
        (false, _) => Reads::Body,
        (true, None) => Reads::Events,
        (true, Some(Protocol::AgUi)) => Reads::AgUi,
    };
    let statuses = match entry.expect_status.as_ref().or(own.expect_status.as_ref()) {
        None => Vec::new(),
        Some(Statuses::One(status)) => vec![*status],
        Some(Statuses::Any(list)) => list.clone(),
    };
    if let Some(wrong) = statuses.iter().find(|s| !(200..600).contains(*s)) {
        return Err((
            "expect_status",
            format!("{wrong} is no status of a response; expected 200 to 599"),
        ));
    }
    let expect = entry.expect.as_ref().or(own.expect.as_ref());
    if expect.is_some_and(String::is_empty) {
        return Err(("expect", "an empty text is in every response".to_owned()));
    }
    if entry.name.is_empty() {
        return Err(("tasks", "a task must have a name".to_owned()));
    }
    Ok(Task {
        name: entry.name.clone(),
        method,
        path,
        headers,
        body,
        reads,
        expect: expect.map(|text| Finder::new(text.as_bytes()).into_owned()),
        statuses,
        events: entry.events.or(own.events).filter(|_| reads != Reads::Body),
        most_event_bytes: own.max_event_bytes.unwrap_or(MOST_EVENT_BYTES) as usize,
    })
}

fn listed(headers: Option<&Headers>) -> Result<Vec<(String, String)>, Blame> {
    let pairs: Vec<(String, String)> = match headers {
        None => Vec::new(),
        Some(Headers::Table(table)) => table.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
        Some(Headers::List(list)) => list
            .iter()
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| ("headers", format!("\"{}\" is no \"Name: value\"", line.escape_debug())))?;
                Ok((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<Result<_, Blame>>()?,
    };
    for (name, value) in &pairs {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(("headers", format!("\"{}\" is no name of a header", name.escape_debug())));
        }
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(("headers", format!("the value of {name} holds a control character")));
        }
        if [
            "content-length",
            "transfer-encoding",
            "connection",
            "upgrade",
            "te",
            "trailer",
            "expect",
        ]
        .contains(&name.to_ascii_lowercase().as_str())
        {
            return Err(("headers", format!("{name} is set by the driver itself")));
        }
        Template::parse(value).map_err(|e| ("headers", e))?;
    }
    Ok(pairs)
}

fn request(task: &Task, target: &Target, reuse: Reuse, variables: &Variables) -> Result<Request, String> {
    let own = variables.expand(&task.path)?;
    let path = match (target.path.is_empty(), own.is_empty()) {
        (true, true) => "/".to_owned(),
        (true, false) if own.starts_with('?') => format!("/{own}"),
        _ => format!("{}{own}", target.path),
    };
    if path.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err(format!(
            "the path \"{}\" holds a space or a control character",
            path.escape_debug()
        ));
    }
    let mut headers = Vec::new();
    for (name, value) in &task.headers {
        let value = variables.expand(value)?;
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(format!("the value of the header {name} holds a control character"));
        }
        headers.push((name.clone(), value));
    }
    let accept = if task.reads == Reads::Body {
        "*/*"
    } else {
        "text/event-stream"
    };
    let mut defaults = vec![
        ("User-Agent", concat!("eventbench/", env!("CARGO_PKG_VERSION"))),
        ("Accept", accept),
    ];
    if task.reads != Reads::Body {
        defaults.push(("Cache-Control", "no-cache"));
    }
    if task.body.is_some() {
        defaults.push(("Content-Type", "application/json"));
    }
    for (name, value) in defaults {
        if !headers.iter().any(|h| h.0.eq_ignore_ascii_case(name)) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let mut head = format!("{} {path} HTTP/1.1\r\n", task.method);
    if !headers.iter().any(|h| h.0.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {}\r\n", target.authority));
    }
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if reuse == Reuse::PerRequest {
        head.push_str("Connection: close\r\n");
    }
    let mut templates = Vec::new();
    for (name, value) in &headers {
        if !name.eq_ignore_ascii_case("host") {
            templates.push((name.to_ascii_lowercase(), Template::parse(value)?));
        }
    }
    Ok(Request {
        head: Template::parse(&head)?,
        path: Template::parse(&path)?,
        headers: templates,
    })
}
