//! `http` and `status`.

use std::path::Path;

use super::{env, least, load, refused, try_load};
use crate::config::{Environment, Flags, Listen, StatusSocket, status_socket};

fn under_nomad(alloc: &str) -> Environment {
    let mut environment = least();
    environment.extend(env(&[("NOMAD_ALLOC_DIR", alloc)]));
    environment
}

#[test]
fn nothing_listens_unless_it_is_configured() {
    let config = load("", &least(), &Flags::default());
    assert_eq!((config.http, config.status), (None, None));
}

#[test]
fn health_and_metrics_stay_on_loopback_unless_remote_is_allowed() {
    let with = |listen: &str| Flags::default().with("http-listen", listen);
    for good in ["127.0.0.1:9464", "[::1]:0", "localhost:9464"] {
        let http = load("", &least(), &with(good)).http;
        assert!(matches!(http, Some(Listen::Tcp(to)) if to.ip().is_loopback()));
    }
    for open in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"] {
        let text = refused("", &least(), &with(open));
        assert!(text.contains("can be reached from outside"), "{text}");
        let allowed = with(open).with("http-allow-remote", "true");
        assert!(load("", &least(), &allowed).http.is_some(), "{open}");
    }
    let socket = load("", &least(), &with("unix:///run/c/http.sock")).http;
    assert_eq!(socket, Some(Listen::Unix("/run/c/http.sock".into())));
    for bad in [
        "9464",
        "example.com:9464",
        "unix://http.sock",
        "http://127.0.0.1:1",
    ] {
        refused("", &least(), &with(bad));
    }
}

#[test]
fn nomad_says_where_the_status_socket_is_and_the_client_finds_it() {
    let environment = under_nomad("/alloc");
    let status = load("", &environment, &Flags::default()).status;
    let path = Path::new("/alloc/certagent/run/status.sock");
    let wanted = StatusSocket {
        path: path.to_owned(),
        chosen: false,
    };
    assert_eq!(status, Some(wanted));
    assert_eq!(status_socket(&environment).as_deref(), Some(path));
    assert_eq!(status_socket(&least()), None);
    let mut session = least();
    session.insert("XDG_RUNTIME_DIR".to_owned(), "/run/user/1".to_owned());
    let path = Path::new("/run/user/1/certagent/status.sock");
    let status = load("", &session, &Flags::default()).status;
    assert_eq!(status.map(|status| status.path).as_deref(), Some(path));
    assert_eq!(status_socket(&session).as_deref(), Some(path));
    session.insert("XDG_RUNTIME_DIR".to_owned(), "relative".to_owned());
    assert_eq!(status_socket(&session), None);
    let off = Flags::default().with("status-socket", "off");
    assert_eq!(load("", &environment, &off).status, None);
}

#[test]
fn a_path_that_no_socket_can_have_is_a_problem_when_chosen_and_a_note_when_not() {
    let long = format!("/run/{}/status.sock", "x".repeat(100));
    let chosen = Flags::default().with("status-socket", &long);
    let text = refused("", &least(), &chosen);
    assert!(text.contains("at most 107"), "{text}");
    let environment = under_nomad(&format!("/{}", "x".repeat(90)));
    let loaded = try_load("", &environment, &Flags::default()).unwrap();
    assert_eq!(loaded.config.status, None);
    let noted = loaded.notes.iter().any(|note| note.contains("107"));
    assert!(noted, "{:?}", loaded.notes);
    let fits = format!("/{}/status.sock", "x".repeat(107 - 13));
    let flags = Flags::default().with("status-socket", &fits);
    assert!(load("", &least(), &flags).status.is_some());
}
