//! The server itself, inside the child process.
#![allow(clippy::print_stdout, reason = "the child reports on stdout")]

use std::{io, path::Path, sync::Arc};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::Behaviour;

/// Serves until it is killed, or dies as it was told to.
pub(super) async fn run(dir: &Path, behaviour: Behaviour, address: &str) {
    let first = config(dir, behaviour);
    let mut now = Arc::clone(&first);
    let listener = TcpListener::bind(address).await.unwrap();
    let (mut reload, mut relapse) = (None, None);
    if !behaviour.deaf {
        reload = Some(signal(SignalKind::hangup()).unwrap());
        relapse = Some(signal(SignalKind::user_defined1()).unwrap());
    }
    println!("stubborn: listening on {}", listener.local_addr().unwrap());
    let mut told = 0;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let acceptor = TlsAcceptor::from(Arc::clone(&now));
                connections.spawn(serve(acceptor, accepted.unwrap().0, behaviour.sick));
            }
            () = received(&mut reload) => {
                told += 1;
                if told <= behaviour.ignore {
                    println!("stubborn: ignored {told}");
                } else if behaviour.dies {
                    std::process::exit(3);
                } else {
                    now = config(dir, behaviour);
                    println!("stubborn: reloaded at {told}");
                }
            }
            () = received(&mut relapse) => {
                now = Arc::clone(&first);
                println!("stubborn: relapsed");
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn config(dir: &Path, behaviour: Behaviour) -> Arc<ServerConfig> {
    let certificates = |name| -> Vec<CertificateDer<'static>> {
        let found = CertificateDer::pem_file_iter(dir.join(name)).unwrap();
        found.map(Result::unwrap).collect()
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if behaviour.mtls {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("CA.pem"));
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(clients.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap();
    let mut config = builder
        .with_single_cert(certificates("cert.pem"), key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A peer that goes away is no reason to stop.
async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, sick: bool) -> io::Result<()> {
    let mut stream = acceptor.accept(tcp).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return health(stream, sick).await.map_err(io::Error::other);
    }
    stream.read_to_end(&mut Vec::new()).await?;
    stream.shutdown().await
}

/// Answers every call as `grpc.health.v1.Health/Check`.
async fn health(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    sick: bool,
) -> Result<(), h2::Error> {
    let message: &[u8] = if sick {
        &[0, 0, 0, 0, 2, 8, 2]
    } else {
        &[0, 0, 0, 0, 2, 8, 1]
    };
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(call) = connection.accept().await {
        let (_, mut respond) = call?;
        let head = http::Response::builder().header("content-type", "application/grpc");
        let mut body = respond.send_response(head.body(()).unwrap_or_default(), false)?;
        body.send_data(bytes::Bytes::from_static(message), false)?;
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", 0.into());
        body.send_trailers(trailers)?;
    }
    Ok(())
}
