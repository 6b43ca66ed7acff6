//! The ways an application may answer, each by a small server of the test.

use std::{sync::Arc, time::Duration};

use rustls::{RootCertStore, ServerConfig, crypto::CryptoProvider, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, duplex, split},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

mod floods;

use super::*;
use crate::{
    clock::{Clock as _, SystemClock},
    model::{
        answer,
        request::Request,
        verify::{self, Verified},
    },
    testing::ca::TestCa,
};

fn request() -> Request {
    Request {
        names: crate::model::request::Names {
            ips: ["127.0.0.1".parse().unwrap()].into(),
            ..Request::example().names
        },
        ..Request::example()
    }
}

fn set(ca: &TestCa) -> Verified {
    let (now, request) = (SystemClock.now(), request());
    let expect = verify::Expect::of(&request);
    let body = ca.answer(&request, now);
    verify::verify(answer::parse(&body, None).unwrap(), &expect, now).unwrap()
}

fn pair(set: &Verified) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(set.cert_pem().as_bytes());
    let key = PrivateKeyDer::from_pem_slice(set.key_pem().expose().as_bytes());
    (chain.map(Result::unwrap).collect(), key.unwrap())
}

/// A server of `set`; with `clients` it wants certificates of that CA.
fn server(set: &Verified, clients: Option<&TestCa>, tls13: bool) -> ServerConfig {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let version = match tls13 {
        true => &rustls::version::TLS13,
        false => &rustls::version::TLS12,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.root.der.clone().into()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let (chain, key) = pair(set);
    builder.with_single_cert(chain, key).unwrap()
}

fn target(address: String) -> ProbeTarget {
    ProbeTarget {
        address,
        server_name: "127.0.0.1".to_owned(),
        alpn: Vec::new(),
        mtls: true,
        starttls: None,
        grpc_health: false,
        timeout: Duration::from_secs(20),
    }
}

/// What becomes of a look at a server that does `serve` with its first connection.
async fn look<F: Future<Output = ()> + Send + 'static>(
    set: &Verified,
    change: impl FnOnce(&mut ProbeTarget),
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> Result<Served, ProbeFailure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut target = target(listener.local_addr().unwrap().to_string());
    change(&mut target);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { serve(listener.accept().await.unwrap().0).await });
    probe(&target, &Identity::of(set).unwrap()).await
}

/// Serves TLS and then waits for the end.
async fn serve<S>(config: ServerConfig, tcp: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(Arc::new(config)).accept(tcp).await;
    if let Ok(mut stream) = handshake {
        let _end = stream.read_to_end(&mut Vec::new()).await;
        let _end = stream.shutdown().await;
    }
}

#[tokio::test]
async fn the_published_certificate_is_verified_over_either_version() {
    let ca = TestCa::new(SystemClock.now());
    let set = set(&ca);
    for tls13 in [true, false] {
        let config = server(&set, Some(&ca), tls13);
        let served = look(&set, |_| {}, |tcp| serve(config, tcp)).await.unwrap();
        assert_eq!(served.serial, set.leaf().serial);
        assert_eq!(served.trust, ChainTrust::Verified);
        assert_eq!(served.accepted, Accepted::Yes { sent: true });
        let version = if tls13 { "TLSv1.3" } else { "TLSv1.2" };
        assert_eq!(served.version.as_deref(), Some(version));
        assert_eq!(Identity::of(&set).unwrap().serves_current(&served), Ok(()));
    }
}

#[tokio::test]
async fn a_peer_that_does_not_ask_for_a_certificate_is_verified_without() {
    let set = set(&TestCa::new(SystemClock.now()));
    let config = server(&set, None, true);
    let served = look(&set, |_| {}, |tcp| serve(config, tcp)).await.unwrap();
    assert_eq!(served.accepted, Accepted::NotAsked);
    assert_eq!(Identity::of(&set).unwrap().serves_current(&served), Ok(()));
}

#[tokio::test]
async fn a_peer_without_tickets_accepts_by_its_goodbye() {
    let ca = TestCa::new(SystemClock.now());
    let set = set(&ca);
    let mut config = server(&set, Some(&ca), true);
    config.send_tls13_tickets = 0;
    let served = look(&set, |_| {}, |tcp| serve(config, tcp)).await.unwrap();
    assert_eq!(served.accepted, Accepted::Yes { sent: true });
}

/// As [`serve`], on a machine so busy that all but the first bytes of the client reach it late.
async fn serve_late(config: ServerConfig, tcp: TcpStream) {
    let (ours, theirs) = duplex(1 << 16);
    let (mut from_server, mut to_server) = split(ours);
    let (mut from_client, mut to_client) = tcp.into_split();
    let answers = async {
        let _ended = copy(&mut from_server, &mut to_client).await;
        let _ended = to_client.shutdown().await;
    };
    let questions = async {
        let mut hello = vec![0; 1 << 14];
        let size = from_client.read(&mut hello).await.unwrap();
        to_server.write_all(&hello[..size]).await.unwrap();
        tokio::time::sleep(FIRST_BYTE_TIMEOUT * 3 / 2).await;
        let _ended = copy(&mut from_client, &mut to_server).await;
        let _ended = to_server.shutdown().await;
    };
    tokio::join!(answers, questions, serve(config, theirs));
}

#[tokio::test]
async fn a_late_verdict_on_our_certificate_is_waited_for() {
    let ca = TestCa::new(SystemClock.now());
    let set = set(&ca);
    let other = TestCa::new(SystemClock.now());
    let health = |target: &mut ProbeTarget| {
        target.grpc_health = true;
        target.timeout = Duration::from_secs(2);
    };
    for grpc in [false, true] {
        let refuses = server(&set, Some(&other), true);
        let change = |target: &mut ProbeTarget| target.grpc_health = grpc;
        let served = look(&set, change, |tcp| serve_late(refuses, tcp)).await;
        let accepted = served.unwrap().accepted;
        let Accepted::Refused(why) = &accepted else {
            panic!("grpc {grpc}: {accepted:?}");
        };
        assert!(why.starts_with("alert "), "{why}");
    }
    let accepts = server(&set, Some(&ca), true);
    let served = look(&set, |_| {}, |tcp| serve_late(accepts, tcp)).await;
    assert_eq!(served.unwrap().accepted, Accepted::Yes { sent: true });
    // It speaks, but no HTTP/2: it accepted us, and is no gRPC server.
    let accepts = server(&set, Some(&ca), true);
    let served = look(&set, health, |tcp| serve(accepts, tcp)).await.unwrap();
    assert_eq!(served.accepted, Accepted::Yes { sent: true });
    assert!(
        matches!(served.health, Some(ApplicationHealth::Broken(_))),
        "{served:?}"
    );
}

#[tokio::test]
async fn smtp_becomes_tls_and_is_verified() {
    let set = set(&TestCa::new(SystemClock.now()));
    let config = server(&set, None, true);
    let smtp = |target: &mut ProbeTarget| target.starttls = Some(StartTls::Smtp);
    let served = look(&set, smtp, |mut tcp| async move {
        for (answer, asked) in [
            ("220 mail\r\n", 24),
            ("250-mail\r\n250 STARTTLS\r\n", 10),
            ("220 go\r\n", 0),
        ] {
            tcp.write_all(answer.as_bytes()).await.unwrap();
            tcp.read_exact(&mut vec![0; asked]).await.unwrap();
        }
        serve(config, tcp).await;
    });
    assert_eq!(
        Identity::of(&set)
            .unwrap()
            .serves_current(&served.await.unwrap()),
        Ok(())
    );
}

#[tokio::test]
async fn a_client_certificate_of_the_wrong_ca_or_none_is_seen_as_refused() {
    let ca = TestCa::new(SystemClock.now());
    let set = set(&ca);
    let other = TestCa::new(SystemClock.now());
    for (tls13, mtls) in [(true, true), (true, false), (false, true), (false, false)] {
        let clients = if mtls { &other } else { &ca };
        let config = server(&set, Some(clients), tls13);
        let served = look(&set, |target| target.mtls = mtls, |tcp| serve(config, tcp)).await;
        let served = served.unwrap();
        let Accepted::Refused(why) = &served.accepted else {
            panic!("tls13 {tls13} mtls {mtls}: {served:?}");
        };
        assert!(why.starts_with("alert "), "{why}");
        assert_eq!(
            served.trust,
            ChainTrust::Verified,
            "tls13 {tls13} mtls {mtls}"
        );
        let no = Identity::of(&set)
            .unwrap()
            .serves_current(&served)
            .unwrap_err();
        assert_eq!(no.code, "client-refused");
    }
}

#[tokio::test]
async fn the_serial_of_an_untrusted_certificate_is_reported_and_never_verified() {
    let ours = set(&TestCa::new(SystemClock.now()));
    let theirs = set(&TestCa::new(SystemClock.now()));
    let config = server(&theirs, None, true);
    let served = look(&ours, |_| {}, |tcp| serve(config, tcp)).await.unwrap();
    assert_eq!(served.serial, theirs.leaf().serial);
    assert!(
        matches!(&served.trust, ChainTrust::Refused(_)),
        "{served:?}"
    );
    assert!(
        Identity::of(&ours)
            .unwrap()
            .serves_current(&served)
            .is_err()
    );
    // Even where it is the very one that was published, trust decides.
    let no = Identity::of(&theirs)
        .unwrap()
        .serves_current(&served)
        .unwrap_err();
    assert_eq!(no.code, "served-untrusted");
}

#[tokio::test]
async fn a_name_that_the_certificate_does_not_have_is_not_trusted() {
    let set = set(&TestCa::new(SystemClock.now()));
    let config = server(&set, None, true);
    let wrong = |target: &mut ProbeTarget| target.server_name = "other.consul".to_owned();
    let served = look(&set, wrong, |tcp| serve(config, tcp)).await.unwrap();
    let ChainTrust::Refused(why) = &served.trust else {
        panic!("{served:?}");
    };
    assert!(why.contains("not valid for name"), "{why}");
}

#[tokio::test]
async fn each_way_to_see_no_certificate_has_its_code() {
    let ca = TestCa::new(SystemClock.now());
    let set = set(&ca);
    let hurry = |target: &mut ProbeTarget| target.timeout = Duration::from_millis(300);
    let silent = look(&set, hurry, |tcp| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(tcp);
    });
    let closed = look(
        &set,
        |_| {},
        |mut tcp| async move {
            let _read = tcp.read(&mut [0; 1024]).await;
        },
    );
    let plain = look(
        &set,
        |_| {},
        |mut tcp| async move {
            let _read = tcp.read(&mut [0; 1024]).await;
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
            let _read = tcp.read(&mut [0; 1024]).await;
        },
    );
    let mut config = server(&set, None, true);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let h2 = |target: &mut ProbeTarget| target.alpn = vec!["h2".to_owned()];
    let alpn = look(&set, h2, |tcp| serve(config, tcp));
    let postgres = |target: &mut ProbeTarget| target.starttls = Some(StartTls::Postgres);
    let starttls = look(&set, postgres, |mut tcp| async move {
        let _read = tcp.read(&mut [0; 8]).await;
        tcp.write_all(b"N").await.unwrap();
    });
    let bad = look(&set, |target| target.address = "x".to_owned(), |_| async {});
    let name = look(
        &set,
        |target| target.address = "no-such-host.invalid:1".to_owned(),
        |_| async {},
    );
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let refused = look(&set, |target| target.address = address, |_| async {});
    for (result, code) in [
        (silent.await, "probe-timeout"),
        (closed.await, "probe-closed"),
        (plain.await, "probe-not-tls"),
        (alpn.await, "probe-alpn"),
        (starttls.await, "probe-starttls"),
        (bad.await, "probe-target"),
        (name.await, "probe-name"),
        (refused.await, "probe-refused"),
    ] {
        let failure = result.unwrap_err();
        assert_eq!(failure.code, code, "{failure}");
        assert!(ProbeFailure::CODES.contains(&failure.code));
        assert!(failure.message.starts_with("probing "), "{failure}");
        assert!(!failure.hint.is_empty() && !failure.message.ends_with('.'));
    }
}

/// Answers one call of gRPC with this head, message and trailer.
async fn grpc(config: ServerConfig, tcp: TcpStream, message: Option<&'static [u8]>, status: u32) {
    let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(tcp).await else {
        return;
    };
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        let head = http::Response::builder().header("content-type", "application/grpc");
        let Some(message) = message else {
            let head = head
                .header("grpc-status", status)
                .header("grpc-message", "no");
            respond.send_response(head.body(()).unwrap(), true).unwrap();
            continue;
        };
        let mut body = respond
            .send_response(head.body(()).unwrap(), false)
            .unwrap();
        body.send_data(bytes::Bytes::from_static(message), false)
            .unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", status.into());
        body.send_trailers(trailers).unwrap();
    }
}

#[tokio::test]
async fn the_health_service_is_asked_over_mtls() {
    let ca = TestCa::new(SystemClock.now());
    let set = set(&ca);
    let table: [(Option<&'static [u8]>, u32, ApplicationHealth); 4] = [
        (Some(&[0, 0, 0, 0, 2, 8, 1]), 0, ApplicationHealth::Serving),
        (
            Some(&[0, 0, 0, 0, 2, 8, 2]),
            0,
            ApplicationHealth::NotServing,
        ),
        (None, 12, ApplicationHealth::Status(12, "no".to_owned())),
        (
            Some(&[1]),
            0,
            ApplicationHealth::Broken("the answer is cut off".to_owned()),
        ),
    ];
    let health = |target: &mut ProbeTarget| {
        target.grpc_health = true;
        target.alpn = vec!["h2".to_owned()];
    };
    for (message, status, wanted) in table {
        let mut config = server(&set, Some(&ca), true);
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.send_tls13_tickets = 0;
        let served = look(&set, health, move |tcp| grpc(config, tcp, message, status)).await;
        let served = served.unwrap();
        assert_eq!(served.accepted, Accepted::Yes { sent: true });
        assert_eq!(served.alpn.as_deref(), Some("h2"));
        assert_eq!(served.health, Some(wanted));
    }
    let other = TestCa::new(SystemClock.now());
    let mut config = server(&set, Some(&other), true);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let served = look(&set, health, move |tcp| grpc(config, tcp, None, 0))
        .await
        .unwrap();
    assert!(
        matches!(served.accepted, Accepted::Refused(_)),
        "{served:?}"
    );
    assert_eq!(served.health, None);
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused_without_showing_it() {
    let ca = TestCa::new(SystemClock.now());
    let (one, two) = (set(&ca), set(&ca));
    let mixed = Identity::new(one.ca_pem(), one.cert_pem(), Some(two.key_pem()));
    assert_eq!(
        mixed.err().unwrap().to_string(),
        "key.pem: not the key of cert.pem"
    );
    let swapped = Identity::new(one.key_pem().expose(), one.cert_pem(), None);
    let text = swapped.err().unwrap().to_string();
    assert_eq!(
        text,
        "CA.pem: it holds a `PRIVATE KEY` block: a private key belongs into a file of its own"
    );
}
