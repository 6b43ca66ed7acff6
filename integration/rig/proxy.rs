//! An HTTP proxy on loopback that wants a user: absolute URLs and CONNECT (RFC 9110 section 9.3.6).
//!
//! Never understands more than it passes on. What stays true: nothing passes without the right
//! Proxy-Authorization, and what asked is written down.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A running proxy; it ends with the test.
pub(crate) struct Proxy {
    /// `host:port`.
    pub(crate) address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// `basic` is what has to follow `Proxy-Authorization: Basic `.
    pub(crate) fn start(basic: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::default();
        let (wanted, log) = (format!("basic {basic}"), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (wanted, log) = (wanted.clone(), Arc::clone(&log));
                thread::spawn(move || serve(stream, &wanted, &log));
            }
        });
        Self { address, seen }
    }

    /// The first lines of all requests that had the right user, and `407` for the others.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(client: TcpStream, wanted: &str, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    let (mut head, mut authorised) = (Vec::new(), false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("proxy-authorization") {
            let scheme = value.trim().replacen("Basic", "basic", 1);
            authorised = scheme == wanted;
        } else {
            head.push(line);
        }
    }
    let first = head.first().cloned().unwrap_or_default();
    let words: Vec<&str> = first.split(' ').collect();
    let [method, target, _] = words[..] else {
        return Ok(());
    };
    if !authorised {
        seen.lock().unwrap().push("407".to_owned());
        let head = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n";
        return client
            .write_all(format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
    }
    seen.lock().unwrap().push(format!("{method} {target}"));
    let rest = target.strip_prefix("http://").unwrap_or(target);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut server = TcpStream::connect(host)?;
    if method == "CONNECT" {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        text.extend(head.iter().skip(1).map(String::as_str));
        server.write_all(format!("{text}\r\n").as_bytes())?;
    }
    let mut back = (server.try_clone()?, client.try_clone()?);
    let answers = thread::spawn(move || {
        let _ended = io::copy(&mut back.0, &mut back.1);
        back.1.shutdown(Shutdown::Write)
    });
    let _ended = io::copy(&mut reader.by_ref(), &mut server);
    let _ended = server.shutdown(Shutdown::Write);
    let _ended = answers.join();
    Ok(())
}
