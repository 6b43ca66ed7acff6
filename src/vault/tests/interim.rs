//! A server that answers with nothing but interim responses (RFC 9110 section 15.2), as fast as it can.

use std::{
    io::{Read as _, Write as _},
    net, thread,
};

use super::*;

/// Ends each connection with the client's end of it.
fn flood() -> String {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(500);
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            // before the request it would be no answer
            assert!(client.read(&mut [0; 4096]).unwrap() > 0);
            while client.write_all(interim.as_bytes()).is_ok() {}
        }
    });
    address
}

/// hyper skips them without a bound of its own.
#[tokio::test]
async fn endless_interim_answers_are_refused_long_before_the_time_of_the_request() {
    let vault = with_token(&VaultConfig {
        timeout: Duration::from_secs(60),
        ..config(&[&flood()])
    });
    let began = Instant::now();
    let order = issue(&vault);
    tokio::pin!(order);
    let mut turns = 0;
    let failure = loop {
        tokio::select! {
            answer = &mut order => break answer.unwrap_err(),
            () = tokio::time::sleep(Duration::from_millis(10)) => turns += 1,
        }
    };
    assert_eq!(failure.code, "answer-endless", "{failure:?}");
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "{:?}",
        began.elapsed()
    );
    assert!(turns > 20, "{turns} turns of this thread");
}
