//! Applications that speak HTTP/2 and lie: without end, in drips, or not at all.

use std::iter::repeat;

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const UNKNOWN: u8 = 0xfa;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status` 200 and 103, the latter as a literal (RFC 7541 section 6.2.2).
const STATUS_200: &[u8] = &[0x88];
const STATUS_103: &[u8] = &[0x08, 3, b'1', b'0', b'3'];

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// What comes of an application that says `parts` one after the other, `pause` between them, and
/// then nothing, until it is left.
async fn said(
    set: &Verified,
    timeout: Duration,
    pause: Duration,
    parts: impl Iterator<Item = Vec<u8>> + Send + 'static,
) -> Served {
    let mut config = server(set, None, true);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let health = |target: &mut ProbeTarget| {
        target.grpc_health = true;
        target.alpn = vec!["h2".to_owned()];
        target.timeout = timeout;
    };
    let served = look(set, health, async move |tcp| {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut stream = acceptor.accept(tcp).await.unwrap();
        for part in parts {
            if stream.write_all(&part).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        let _left = stream.read_to_end(&mut Vec::new()).await;
    });
    served.await.unwrap()
}

fn broken(served: Served) -> String {
    match served.health {
        Some(ApplicationHealth::Broken(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_flood_ends_long_before_the_time_is_up() {
    let set = set(&TestCa::new(SystemClock.now()));
    let settings = frame(SETTINGS, 0, 0, &[]);
    let head = frame(HEADERS, END_HEADERS, 1, STATUS_200);
    let table: [(&str, Vec<u8>, Vec<u8>); 9] = [
        ("empty DATA", head.clone(), frame(DATA, 0, 1, &[])),
        ("DATA of one byte", head.clone(), frame(DATA, 0, 1, &[0])),
        ("long DATA", head.clone(), frame(DATA, 0, 1, &[0; 16 << 10])),
        (
            "CONTINUATION",
            frame(HEADERS, 0, 1, STATUS_200),
            frame(CONTINUATION, 0, 1, &[]),
        ),
        ("SETTINGS", Vec::new(), settings.clone()),
        ("PING", Vec::new(), frame(PING, 0, 0, &[7; 8])),
        ("PRIORITY", Vec::new(), frame(PRIORITY, 0, 1, &[0; 5])),
        (
            "interim",
            Vec::new(),
            frame(HEADERS, END_HEADERS, 1, STATUS_103),
        ),
        ("unknown", Vec::new(), frame(UNKNOWN, 0, 0, &[])),
    ];
    for (name, begin, rest) in table {
        let began = Instant::now();
        // Many in one write, as fast as it can.
        let rest = rest.repeat((8 << 10) / rest.len() + 1);
        let parts = [settings.clone(), begin].into_iter().chain(repeat(rest));
        let served = said(&set, Duration::from_secs(60), Duration::ZERO, parts).await;
        let why = broken(served);
        assert!(began.elapsed() < Duration::from_secs(20), "{name}: {why}");
        assert!(!why.starts_with("no answer within"), "{name}: {why}");
    }
}

#[tokio::test]
async fn silence_and_drips_end_in_time() {
    let set = set(&TestCa::new(SystemClock.now()));
    let limit = Duration::from_secs(1);
    let drip = frame(SETTINGS, 0, 0, &[]).into_iter().cycle();
    let drip = drip.map(|byte| vec![byte]);
    let pings = repeat(frame(PING, 0, 0, &[7; 8]));
    let pause = Duration::from_millis(20);
    for served in [
        said(&set, limit, Duration::ZERO, std::iter::empty()).await,
        said(&set, limit, pause, drip).await,
        said(&set, limit, pause, pings).await,
    ] {
        assert_eq!(served.trust, ChainTrust::Verified);
        assert_eq!(broken(served), "no answer within 1 s");
    }
}

#[tokio::test]
async fn each_way_to_break_off_is_named() {
    let set = set(&TestCa::new(SystemClock.now()));
    let settings = frame(SETTINGS, 0, 0, &[]);
    let head = frame(HEADERS, END_HEADERS, 1, STATUS_200);
    let table = [
        (frame(3, 0, 1, &[0, 0, 0, 7]), "refused stream"),
        (
            frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]),
            "excessive load",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "invalid size"),
        (frame(HEADERS, END_HEADERS, 1, &[0x80]), "protocol error"),
        (
            [frame(HEADERS, 0, 1, STATUS_200), settings.clone()].concat(),
            "protocol error",
        ),
        (
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x8d]),
            "HTTP status 404",
        ),
        (
            [head, frame(DATA, END_STREAM, 1, &[0, 0, 0, 0, 0])].concat(),
            "no grpc-status",
        ),
    ];
    for (answer, wanted) in table {
        let parts = [settings.clone(), answer].into_iter();
        let served = said(&set, Duration::from_secs(60), Duration::ZERO, parts).await;
        let why = broken(served);
        assert!(why.contains(wanted), "{wanted}: {why}");
    }
}
