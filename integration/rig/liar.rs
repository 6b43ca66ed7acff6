//! Servers that lie or only pretend: Vault, Nomad's Task API, what is on the way to them.
//!
//! The application that lies is `apps/stubborn.rs`. What stays true: a request has come whole before
//! the lie begins, and every liar ends with the process of the tests.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// One that listens on loopback.
pub(crate) struct Liar {
    /// `http://host:port`.
    pub(crate) address: String,
    connections: Arc<AtomicUsize>,
}

impl Liar {
    /// Gives this answer to each request, and closes.
    pub(crate) fn issuer(lie: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |mut client| {
            let request = whole(&mut client)?;
            client.write_all(lie(&request).as_bytes())
        })
    }

    /// Answers with interim responses without end (RFC 9110 section 15.2).
    pub(crate) fn endless() -> Self {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(500);
        Self::start(move |mut client| {
            whole(&mut client)?;
            loop {
                client.write_all(interim.as_bytes())?;
            }
        })
    }

    /// Passes on to a real server, and its clock is one of an earlier year.
    pub(crate) fn of_an_earlier_year(server: &str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        Self::start(move |client| pass_on(client, &server))
    }

    /// Passes on to a real server, and loses its answers to requests for this path.
    pub(crate) fn losing(server: &str, path: &'static str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        Self::start(move |mut client| {
            let mut upstream = TcpStream::connect(&server)?;
            let mut answer = [0; 65536];
            loop {
                let request = whole(&mut client)?;
                upstream.write_all(request.as_bytes())?;
                let count = upstream.read(&mut answer)?;
                if request.is_empty() || request.contains(path) {
                    return Ok(());
                }
                client.write_all(&answer[..count])?;
            }
        })
    }

    /// Takes connections and says nothing.
    pub(crate) fn silent() -> Self {
        Self::start(|mut client| io::copy(&mut client, &mut io::sink()).map(drop))
    }

    /// Does this with each connection.
    pub(crate) fn start(
        serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, serve) = (Arc::clone(&connections), Arc::new(serve));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || drop(serve(client)));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// How many there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Nomad's Task API at that socket: gives this answer to everything.
pub(crate) fn nomad(socket: &Path, status: &'static str, body: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let _request = whole(&mut client);
            drop(client.write_all(answer(status, body).as_bytes()));
        }
    });
}

/// `status` is `200 OK`.
pub(crate) fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// An address at which no process listens.
pub(crate) fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A request with its body.
fn whole(client: &mut impl Read) -> io::Result<String> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = client.read(&mut part)?;
        text.extend_from_slice(&part[..count]);
        let request = String::from_utf8_lossy(&text);
        let ended = request.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length = length.map_or(Ok(0), |(_, value)| value.parse());
            length.is_ok_and(|length: usize| body.len() >= length)
        });
        if ended || count == 0 {
            return Ok(request.into_owned());
        }
    }
}

/// Passes requests up as they are, and answers down with another Date.
fn pass_on(client: TcpStream, server: &str) -> io::Result<()> {
    let mut upstream = TcpStream::connect(server)?;
    let (mut from, mut up) = (client.try_clone()?, upstream.try_clone()?);
    thread::spawn(move || io::copy(&mut from, &mut up));
    let mut client = client;
    let mut buffer = [0; 65536];
    loop {
        // Answers of a server on loopback arrive head first and in one piece.
        let count = upstream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let old = text.lines().find(|line| line.starts_with("Date: "));
        let text = match old {
            Some(date) => text.replace(date, "Date: Sun, 06 Nov 2022 08:49:37 GMT"),
            None => text.clone(),
        };
        client.write_all(text.as_bytes())?;
    }
}
