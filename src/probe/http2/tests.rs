//! Our HTTP/2 against scripted frames and an independent server.

use proptest::prelude::*;
use tokio::io::duplex;

use super::*;

const FIELDS: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/x"),
    (":authority", "a.consul"),
];

/// Answers whatever is asked with these bytes, and closes.
async fn answered(bytes: &[u8]) -> Result<Answer, Fault> {
    let (ours, mut theirs) = duplex(64 << 10);
    let serve = async {
        let mut asked = vec![0; 4096];
        let count = theirs.read(&mut asked).await.unwrap();
        assert!(asked[..count].starts_with(PREFACE));
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
    };
    let (answer, ()) = tokio::join!(exchange(ours, &FIELDS, b"q"), serve);
    answer
}

fn frames(all: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, flags, stream, payload) in all {
        frame(&mut out, *kind, *flags, *stream, payload);
    }
    out
}

#[tokio::test]
async fn padding_priority_continuation_and_foreign_frames_are_taken() {
    let bytes = frames(&[
        (SETTINGS, 0, 0, &[]),
        (SETTINGS, 1, 0, &[]),
        (PING, 0, 0, &[7; 8]),
        (8, 0, 0, &[0, 0, 1, 0]),
        (0xfa, 0xff, 9, b"unknown"),
        (HEADERS, END_HEADERS, STREAM, &[0x08, 3, b'1', b'0', b'3']),
        (
            HEADERS,
            PADDED | PRIORITY,
            STREAM,
            &[2, 0, 0, 0, 0, 0, 0x88, 0, 0],
        ),
        (CONTINUATION, END_HEADERS, STREAM, &[0, 1, b'a', 1, b'b']),
        (DATA, PADDED, STREAM, &[1, b'x', b'y', 0]),
        (DATA, 0, 3, b"of another stream"),
        (HEADERS, END_HEADERS | 1, STREAM, &[0, 1, b't', 1, b'1']),
    ]);
    let answer = answered(&bytes).await.unwrap();
    assert_eq!(status(&answer.head), Some("200"));
    assert_eq!(value(&answer.head, "a"), Some("b"));
    assert_eq!(answer.body, b"xy");
    assert_eq!(value(&answer.trailers, "t"), Some("1"));
}

#[tokio::test]
async fn each_way_to_fail_is_told_apart() {
    let large = vec![0; FRAME];
    let head: (u8, u8, u32, &[u8]) = (HEADERS, END_HEADERS, STREAM, &[0x88]);
    let data: (u8, u8, u32, &[u8]) = (DATA, 0, STREAM, &large);
    let table: [(Vec<u8>, &str); 9] = [
        (
            frames(&[(RST_STREAM, 0, STREAM, &[0, 0, 0, 7])]),
            "Ended stream reset: refused stream",
        ),
        (
            frames(&[(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])]),
            "Ended go away: enhance your calm",
        ),
        (frames(&[(GOAWAY, 0, 0, &[])]), "Ended go away: no code"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "Broken the peer does not speak it",
        ),
        (
            frames(&[(HEADERS, END_HEADERS, STREAM, &[0x80])]),
            "Broken a header block is damaged",
        ),
        (
            frames(&[(HEADERS, 0, STREAM, &[]), data]),
            "Broken a header block is interrupted",
        ),
        (
            frames(&[head, data, data, data]),
            "Broken the answer is far too long",
        ),
        (
            frames(&[head, (DATA, PADDED, STREAM, &[9])]),
            "Broken a frame is shorter than its padding",
        ),
        (frames(&[head]), "Io UnexpectedEof"),
    ];
    for (bytes, wanted) in table {
        let found = match answered(&bytes).await.unwrap_err() {
            Fault::Ended(why) => format!("Ended {why}"),
            Fault::Broken(why) => format!("Broken {why}"),
            Fault::Io(error) => format!("Io {:?}", error.kind()),
        };
        assert_eq!(found, wanted);
    }
}

#[test]
fn a_long_name_is_written_as_it_is_read() {
    for count in [0, 1, 126, 127, 128, 253, 254, 255, 256, 300, 5000] {
        let long = "n".repeat(count);
        let fields = Decoder::new().decode(&block(&[("a", &long)])).unwrap();
        assert_eq!(fields, [("a".to_owned(), long)]);
    }
}

#[tokio::test]
async fn an_independent_server_understands_it() {
    let (ours, theirs) = duplex(64 << 10);
    let serve = async {
        let mut connection = h2::server::handshake(theirs).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.uri(), "https://a.consul/x");
        let (parts, mut body) = request.into_parts();
        assert_eq!(parts.headers.len(), 0);
        let answer = async {
            assert_eq!(body.data().await.unwrap().unwrap(), "q");
            let long = "x".repeat(3000);
            let head = http::Response::builder()
                .header("long", &long)
                .body(())
                .unwrap();
            let mut sender = respond.send_response(head, false).unwrap();
            sender
                .send_data(bytes::Bytes::from_static(b"answer"), false)
                .unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("long", long.parse().unwrap());
            sender.send_trailers(trailers).unwrap();
        };
        tokio::join!(answer, async {
            while connection.accept().await.is_some() {}
        });
    };
    let (answer, ()) = tokio::join!(exchange(ours, &FIELDS, b"q"), serve);
    let answer = answer.unwrap();
    assert_eq!(
        (status(&answer.head), answer.body.as_slice()),
        (Some("200"), &b"answer"[..])
    );
    assert_eq!(value(&answer.head, "long").map(str::len), Some(3000));
    assert_eq!(value(&answer.trailers, "long").map(str::len), Some(3000));
}

proptest! {
    #[test]
    fn no_answer_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _any = runtime.block_on(answered(&bytes));
    }
}
