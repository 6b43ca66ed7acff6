//! One look at what an application serves: connect, TLS with our own certificate, read the peer's.
//!
//! Never switches verification off and never decides: `model::served::compare` says what counts.
//! What stays true: a chain that does not verify ends the handshake, and only then is it reported;
//! everything together ends within the target's timeout.

mod grpc;
mod identity;
mod probe_failure;
mod starttls;
#[cfg(test)]
mod tests;
mod witness;

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use grpc::Fault;
pub use identity::{Identity, IdentityError, Trust};
pub use probe_failure::ProbeFailure;
use rustls::{ClientConfig, ProtocolVersion, client::Resumption};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufRead as _, AsyncReadExt as _, AsyncWriteExt as _, Join, Take, join},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use witness::RecordingVerifier;

use crate::{
    config::{ProbeTarget, StartTls},
    model::{
        leaf::CertFacts,
        served::{Accepted, ApplicationHealth, ChainTrust, Served, split_address},
    },
};

/// How long a peer that accepted our certificate may take to say its first word. Most speak at
/// once: a session ticket (RFC 8446 section 4.6.1), or the settings of HTTP/2.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes that a peer may send up to the end of the handshake: its chain, and the names of the CAs
/// that it takes, each at most 64 KiB for rustls.
const MAX_HANDSHAKE_BYTES: u64 = 256 << 10;
/// Bytes that it may send after that: some 7,000 of the smallest frames, so that a flood of them
/// ends within milliseconds. An answer of the health service takes some hundred.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// A connection that ends after so many bytes from the peer.
type Bounded = Join<Take<OwnedReadHalf>, OwnedWriteHalf>;

/// Looks once.
///
/// # Errors
/// [`ProbeFailure`] when no certificate was seen at all. A wrong, untrusted or old certificate, and
/// a peer that refuses ours, are no errors: they are in [`Served`].
pub async fn probe(target: &ProbeTarget, identity: &Identity) -> Result<Served, ProbeFailure> {
    probe_by(target, identity.trust()).await
}

/// As [`probe`], without certificate files of our own to compare with.
///
/// # Errors
/// As [`probe`].
pub async fn probe_by(target: &ProbeTarget, trust: &Trust) -> Result<Served, ProbeFailure> {
    let look = ProbeRun {
        target,
        end: Instant::now() + target.timeout,
    };
    let name = split_address(&target.address)
        .and_then(|_| ServerName::try_from(target.server_name.clone()).ok())
        .ok_or_else(|| probe_failure::bad_target(target))?;
    let mut tcp = look.connect().await?;
    match target.starttls {
        None => {}
        Some(StartTls::Postgres) => {
            let asked = starttls::postgres(&mut tcp);
            look.starttls("asking PostgreSQL for TLS", asked).await?;
        }
        Some(StartTls::Smtp) => {
            let asked = starttls::smtp(&mut tcp);
            look.starttls("asking SMTP for TLS", asked).await?;
        }
    }
    let witness = Arc::new(trust.witness(target.mtls));
    let config = look.config(&witness)?;
    let (from, to) = tcp.into_split();
    let tcp = join(from.take(MAX_HANDSHAKE_BYTES), to);
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    match look.within("in the TLS handshake", handshake).await? {
        Ok(stream) => look.after(stream, &witness).await,
        Err(error) => look.broken_off(&error, &witness),
    }
}

/// One look, and when it has to be over.
struct ProbeRun<'a> {
    target: &'a ProbeTarget,
    end: Instant,
}

impl ProbeRun<'_> {
    async fn within<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, ProbeFailure> {
        timeout_at(self.end, work)
            .await
            .map_err(|_| probe_failure::timed_out(self.target, doing))
    }

    async fn connect(&self) -> Result<TcpStream, ProbeFailure> {
        let tcp = self
            .within("connecting", TcpStream::connect(&self.target.address))
            .await?
            .map_err(|error| probe_failure::connect(self.target, &error))?;
        // Small messages back and forth; without it each may wait for an acknowledgement.
        let _only_slower = tcp.set_nodelay(true);
        Ok(tcp)
    }

    async fn starttls(
        &self,
        doing: &'static str,
        asked: impl Future<Output = Result<(), String>>,
    ) -> Result<(), ProbeFailure> {
        let answer = self.within(doing, asked).await?;
        answer.map_err(|why| probe_failure::starttls(self.target, &why))
    }

    fn config(&self, witness: &Arc<RecordingVerifier>) -> Result<ClientConfig, ProbeFailure> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(witness.provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| probe_failure::tls(self.target, &error.to_string()))?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::<RecordingVerifier>::clone(witness))
            .with_client_cert_resolver(Arc::<RecordingVerifier>::clone(witness));
        let protocols = self.target.alpn.iter();
        config.alpn_protocols = protocols.map(|one| one.clone().into_bytes()).collect();
        // A resumed session shows no certificate.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// The handshake is over, so the served certificate is verified and proven.
    async fn after(
        &self,
        mut stream: TlsStream<Bounded>,
        witness: &RecordingVerifier,
    ) -> Result<Served, ProbeFailure> {
        let session = stream.get_ref().1;
        let version = session.protocol_version();
        let alpn = session.alpn_protocol();
        let alpn = alpn.map(|name| String::from_utf8_lossy(name).into_owned());
        let mut served = self.served(witness, ChainTrust::Verified)?;
        served.version = version.and_then(|version| Some(version.as_str()?.replace('_', ".")));
        served.alpn = alpn;
        served.accepted = match witness.asked() {
            None => Accepted::NotAsked,
            // There the client's certificate is part of the handshake (RFC 5246 section 7.3).
            Some(sent) if version == Some(ProtocolVersion::TLSv1_2) => Accepted::Yes { sent },
            Some(sent) => self.first_word(&mut stream, sent).await,
        };
        if !self.target.grpc_health || matches!(served.accepted, Accepted::Refused(_)) {
            if served.accepted == Accepted::Silent {
                let sent = witness.asked() == Some(true);
                served.accepted = self.farewell(&mut stream, sent).await;
            }
            return Ok(served);
        }
        Ok(self.health(stream, served, witness).await)
    }

    /// Asks the health service. That it answers shows that the peer accepted us.
    async fn health(
        &self,
        mut stream: TlsStream<Bounded>,
        mut served: Served,
        witness: &RecordingVerifier,
    ) -> Served {
        let peer = stream.get_mut().0.reader_mut();
        peer.set_limit(MAX_ANSWER_BYTES);
        let call = grpc::check(&mut stream, &self.target.server_name);
        let (health, answered) = match timeout_at(self.end, call).await {
            Ok(Ok(health)) => (health, true),
            Ok(Err(Fault::Answer(why))) => (ApplicationHealth::Broken(why), true),
            Ok(Err(Fault::Http2(error))) => {
                if let (Some(_), Some(why)) = (witness.asked(), self.alert(&mut stream).await) {
                    served.accepted = Accepted::Refused(why);
                    return served;
                }
                let why = match stream.get_ref().0.reader().limit() {
                    0 => format!("the peer sent more than {MAX_ANSWER_BYTES} bytes"),
                    _ => error.to_string(),
                };
                // A reset stream or a GOAWAY is an answer too, the end of the connection is none.
                (
                    ApplicationHealth::Broken(format!("HTTP/2: {why}")),
                    error.is_remote(),
                )
            }
            Err(_) => {
                let limit = self.target.timeout.as_secs_f64();
                (
                    ApplicationHealth::Broken(format!("no answer within {limit} s")),
                    false,
                )
            }
        };
        if answered && served.accepted == Accepted::Silent {
            let sent = witness.asked() == Some(true);
            served.accepted = Accepted::Yes { sent };
        }
        served.health = Some(health);
        served
    }

    /// The alert of TLS by which the peer closed this connection.
    async fn alert(&self, stream: &mut TlsStream<Bounded>) -> Option<String> {
        // rustls repeats the error that closed the session.
        let error = match stream.get_mut().1.process_new_packets() {
            Err(error) => io::Error::new(io::ErrorKind::InvalidData, error),
            // We could not write to it: what it said on leaving may be still to be read.
            Ok(_) => {
                let end = self.end.min(Instant::now() + FIRST_BYTE_TIMEOUT);
                match timeout_at(end, word(stream)).await {
                    Ok(Word::Error(error)) => error,
                    _ => return None,
                }
            }
        };
        probe_failure::is_alert(&error).then(|| probe_failure::words(&error))
    }

    /// In TLS 1.3 the handshake ends for us before the peer has looked at our certificate (RFC 8446
    /// section 4.4.4): its first word tells, a ticket or data, or else an alert.
    async fn first_word(&self, stream: &mut TlsStream<Bounded>, sent: bool) -> Accepted {
        let end = self.end.min(Instant::now() + FIRST_BYTE_TIMEOUT);
        match timeout_at(end, word(stream)).await {
            Err(_) => Accepted::Silent,
            Ok(Word::Spoken) => Accepted::Yes { sent },
            Ok(Word::Ended) => Accepted::Refused("it closed the connection at once".to_owned()),
            Ok(Word::Error(error)) => Accepted::Refused(probe_failure::words(&error)),
        }
    }

    /// A peer that waits for us, as PostgreSQL does, answers a goodbye by closing; one that refused
    /// us sends its alert before that.
    async fn farewell(&self, stream: &mut TlsStream<Bounded>, sent: bool) -> Accepted {
        let goodbye = async {
            stream.shutdown().await?;
            match word(stream).await {
                Word::Spoken | Word::Ended => Ok(()),
                Word::Error(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                Word::Error(error) => Err(error),
            }
        };
        match timeout_at(self.end, goodbye).await {
            Ok(Ok(())) => Accepted::Yes { sent },
            Ok(Err(error)) if probe_failure::is_alert(&error) => {
                Accepted::Refused(probe_failure::words(&error))
            }
            Ok(Err(_)) | Err(_) => Accepted::Silent,
        }
    }

    /// The handshake broke: on the certificate we saw, on ours, or before any.
    fn broken_off(
        &self,
        error: &io::Error,
        witness: &RecordingVerifier,
    ) -> Result<Served, ProbeFailure> {
        if witness.leaf().is_none() {
            return Err(probe_failure::handshake(self.target, error));
        }
        if !witness.proven() {
            return self.served(witness, ChainTrust::Refused(probe_failure::words(error)));
        }
        let mut served = self.served(witness, ChainTrust::Verified)?;
        served.accepted = Accepted::Refused(probe_failure::words(error));
        Ok(served)
    }

    fn served(
        &self,
        witness: &RecordingVerifier,
        trust: ChainTrust,
    ) -> Result<Served, ProbeFailure> {
        let facts = match witness.leaf().map(CertFacts::read) {
            Some(Ok(facts)) => facts,
            Some(Err(error)) => return Err(probe_failure::tls(self.target, &error.to_string())),
            None => return Err(probe_failure::tls(self.target, "no certificate came")),
        };
        Ok(Served {
            serial: facts.serial,
            sha256: facts.sha256,
            subject: facts.subject,
            issuer: facts.issuer,
            not_before: facts.not_before,
            not_after: facts.not_after,
            trust,
            accepted: Accepted::NotAsked,
            health: None,
            version: None,
            alpn: None,
        })
    }
}

/// What the peer says after the handshake.
enum Word {
    /// A session ticket, or data (which stays unread).
    Spoken,
    /// The end of the connection, in order.
    Ended,
    /// An alert, or the end of the connection in disorder.
    Error(io::Error),
}

async fn word(stream: &mut TlsStream<Bounded>) -> Word {
    poll_fn(|context| {
        let polled = Pin::new(&mut *stream)
            .poll_fill_buf(context)
            .map_ok(<[u8]>::is_empty);
        match polled {
            Poll::Ready(Ok(false)) => Poll::Ready(Word::Spoken),
            Poll::Ready(Err(error)) => Poll::Ready(Word::Error(error)),
            _ if stream.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Word::Spoken),
            Poll::Ready(Ok(true)) => Poll::Ready(Word::Ended),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
