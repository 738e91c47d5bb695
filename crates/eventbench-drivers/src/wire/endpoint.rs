//! Where a server is and who we are to it.

use std::fmt;
use std::path::PathBuf;

use super::error::WireError;

const DEFAULT_PORT: u16 = 4222;
/// What a connection may hold in received and untaken bytes.
const DEFAULT_BACKLOG_BYTES: usize = 16 * 1024 * 1024;

/// Who we are to the server. Secrets do not show in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nobody in particular.
    #[default]
    None,
    /// A name and a password.
    UserPassword {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
    /// A credentials file: a user JWT and the seed that signs for it.
    Creds(PathBuf),
    /// The seed of a user nkey (`SU…`).
    NKeySeed(String),
}

impl Auth {
    /// The kind, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "a connection without credentials",
            Self::UserPassword { .. } => "the user and password",
            Self::Token(_) => "the token",
            Self::Creds(_) => "the credentials file's user",
            Self::NKeySeed(_) => "the nkey",
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::UserPassword { user, .. } => write!(f, "UserPassword({user:?}, …)"),
            Self::Token(_) => f.write_str("Token(…)"),
            Self::Creds(path) => write!(f, "Creds({})", path.display()),
            Self::NKeySeed(_) => f.write_str("NKeySeed(…)"),
        }
    }
}

/// When and how to encrypt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Refuse a server that does not offer TLS. Without it TLS is used if the
    /// server requires it.
    pub required: bool,
    /// Trust the certificates of this PEM file, instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The name that the server's certificate must carry, if not the host's.
    pub server_name: Option<String>,
}

/// A server, and how to present oneself to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or IP address, an IPv6 address without brackets.
    pub host: String,
    /// TCP port of the server's client listener.
    pub port: u16,
    /// Further servers of the same cluster, host and port, tried in their order
    /// when this one can't be reached.
    pub others: Vec<(String, u16)>,
    /// The connection's name, as the server's monitoring shows it.
    pub name: String,
    /// Who we are.
    pub auth: Auth,
    /// Encryption.
    pub tls: TlsOptions,
    /// Whether our own subscriptions get what this connection publishes.
    pub echo: bool,
    /// How many received bytes the connection holds at most if the caller
    /// does not take them; one message always fits.
    pub backlog_bytes: usize,
}

impl Endpoint {
    /// A server without credentials.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            others: Vec::new(),
            name: "eventbench".to_owned(),
            auth: Auth::None,
            tls: TlsOptions::default(),
            echo: true,
            backlog_bytes: DEFAULT_BACKLOG_BYTES,
        }
    }

    /// Reads `nats://user:password@host:port`, `nats://token@host`,
    /// `tls://host:port`, `host:port` or `host`; the port is 4222 unless
    /// given, and `%xx` stands for a byte in user, password and token. Several,
    /// separated by commas, are the servers of one cluster: who we are is taken
    /// from the first that says it, and TLS is required if any requires it.
    ///
    /// # Errors
    ///
    /// [`WireError::Address`] for anything else.
    pub fn parse(urls: &str) -> Result<Self, WireError> {
        let mut servers = urls.split(',').map(Self::parse_one);
        let mut first = servers.next().unwrap_or_else(|| Self::parse_one(urls))?;
        for other in servers {
            let other = other?;
            first.tls.required |= other.tls.required;
            if first.auth == Auth::None {
                first.auth = other.auth;
            }
            first.others.push((other.host, other.port));
        }
        Ok(first)
    }

    fn parse_one(url: &str) -> Result<Self, WireError> {
        let fail = |reason: &str| WireError::Address {
            url: without_user(url),
            reason: reason.to_owned(),
        };
        let url = url.trim();
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "nats" => false,
            "tls" => true,
            "ws" | "wss" => return Err(fail("websocket is not supported")),
            _ => return Err(fail("the scheme is neither nats nor tls")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user_info, place) = rest
            .rsplit_once('@')
            .map_or((None, rest), |(user, place)| (Some(user), place));
        if place.contains(['/', '?', '#']) || place.contains(char::is_whitespace) {
            return Err(fail("something follows the port"));
        }
        let (host, port) = if let Some(bracketed) = place.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']').ok_or_else(|| fail("a `]` is missing"))?;
            let port = match after.strip_prefix(':') {
                None if after.is_empty() => None,
                None => return Err(fail("something other than a port follows the `]`")),
                port => port,
            };
            (host, port)
        } else {
            match place.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(fail("an IPv6 address needs [ ] around it")),
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            }
        };
        if host.is_empty() {
            return Err(fail("the host is missing"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(fail("the port is not a number from 1 to 65535")),
            },
        };
        let decode = |text: &str| percent_decode(text).ok_or_else(|| fail("a % is not followed by two hex digits"));
        let auth = match user_info {
            None => Auth::None,
            Some("") => return Err(fail("nothing stands before the `@`")),
            Some(user) => match user.split_once(':') {
                Some((user, password)) => Auth::UserPassword {
                    user: decode(user)?,
                    password: decode(password)?,
                },
                None => Auth::Token(decode(user)?),
            },
        };
        let mut endpoint = Self::new(host, port);
        endpoint.auth = auth;
        endpoint.tls.required = tls;
        Ok(endpoint)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Each server of the list as an endpoint of its own, in the order of the
    /// list.
    pub fn servers(&self) -> impl Iterator<Item = Endpoint> + '_ {
        let own = std::iter::once((&self.host, self.port));
        own.chain(self.others.iter().map(|(host, port)| (host, *port)))
            .map(|(host, port)| Endpoint {
                host: host.clone(),
                port,
                others: Vec::new(),
                ..self.clone()
            })
    }

    /// The address of the first server with its scheme and without secrets.
    pub fn url(&self) -> String {
        let scheme = if self.tls.required { "tls" } else { "nats" };
        format!("{scheme}://{}", self.address())
    }
}

/// The url as it may be shown.
fn without_user(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => format!("{}…{}", &url[..scheme + 3], &url[at..]),
        (_, Some(at)) => format!("…{}", &url[at..]),
        _ => url.to_owned(),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        if b == b'%' {
            let (hex, after) = rest.split_at_checked(2)?;
            let digit = |b: u8| char::from(b).to_digit(16);
            bytes.push((digit(hex[0])? * 16 + digit(hex[1])?) as u8);
            rest = after;
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read() {
        let user = |user: &str, password: &str| Auth::UserPassword {
            user: user.into(),
            password: password.into(),
        };
        for (url, host, port, auth, tls) in [
            ("localhost", "localhost", 4222, Auth::None, false),
            ("127.0.0.1:5222", "127.0.0.1", 5222, Auth::None, false),
            ("nats://h", "h", 4222, Auth::None, false),
            ("NATS://h:1/", "h", 1, Auth::None, false),
            ("tls://h:4443", "h", 4443, Auth::None, true),
            ("nats://[::1]:4223", "::1", 4223, Auth::None, false),
            ("[fe80::1]", "fe80::1", 4222, Auth::None, false),
            ("nats://u:p@h:1", "h", 1, user("u", "p"), false),
            ("nats://u:p%40%3a%C3%A4@h", "h", 4222, user("u", "p@:ä"), false),
            ("nats://u:@h", "h", 4222, user("u", ""), false),
            ("tls://s3cret@h", "h", 4222, Auth::Token("s3cret".into()), true),
        ] {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!((endpoint.host.as_str(), endpoint.port), (host, port), "{url}");
            assert_eq!((&endpoint.auth, endpoint.tls.required), (&auth, tls), "{url}");
        }
        assert_eq!(Endpoint::parse("nats://u:p@[::1]").unwrap().url(), "nats://[::1]:4222");
    }

    #[test]
    fn a_list_is_one_cluster_with_one_identity() {
        let cluster = Endpoint::parse("nats://a:1, tls://u:p@b:2 ,c").unwrap();
        let places: Vec<String> = cluster.servers().map(|e| e.url()).collect();
        assert_eq!(places, ["tls://a:1", "tls://b:2", "tls://c:4222"]);
        let password = "p".to_owned();
        let user = "u".to_owned();
        assert!(cluster.servers().all(|e| e.auth
            == Auth::UserPassword {
                user: user.clone(),
                password: password.clone()
            }
            && e.others.is_empty()));
        assert_eq!(Endpoint::parse("a:1").unwrap().servers().count(), 1);
    }

    #[test]
    fn wrong_addresses_are_refused_without_showing_secrets() {
        for (url, reason) in [
            ("", "the host is missing"),
            ("nats://:4222", "the host is missing"),
            ("http://h", "the scheme is neither nats nor tls"),
            ("wss://h", "websocket is not supported"),
            ("a:1,", "the host is missing"),
            ("a:1,u:hunter2@b:x", "the port is not a number"),
            ("h:0", "the port is not a number"),
            ("h:65536", "the port is not a number"),
            ("h:", "the port is not a number"),
            ("::1", "an IPv6 address needs [ ]"),
            ("[::1", "a `]` is missing"),
            ("[::1]4222", "something other than a port"),
            ("h:1/path", "something follows the port"),
            ("@h", "nothing stands before the `@`"),
            ("nats://u:hunter2%zz@h", "a % is not followed"),
            ("nats://u:hunter2@h:x", "the port is not a number"),
            ("ftp://u:hunter2@h", "the scheme"),
            ("u:hunter2@h:x", "the port"),
        ] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        for auth in [
            Auth::UserPassword {
                user: "u".into(),
                password: "hunter2".into(),
            },
            Auth::Token("hunter2".into()),
            Auth::NKeySeed("hunter2".into()),
        ] {
            assert!(!format!("{auth:?}").contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(url in ".{0,60}") {
            let _ = Endpoint::parse(&url);
        }
    }
}
