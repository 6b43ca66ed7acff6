//! The page of the fleet, as it is served and as a browser shows it.

use std::{path::Path, process::Command};

use super::{Peer, agent};
use crate::rig::{PATIENCE, Place, Process, certagent, http, tool, wait_for};

/// Two well agents, one that fails, and one whose name is markup.
fn served(place: &Place) -> (Process, String, Vec<Process>, Peer) {
    let (one, address) = agent(place);
    let text = http::request(
        &format!("http://{address}"),
        None,
        "GET",
        "/status",
        &[],
        None,
    )
    .unwrap()
    .text;
    let peer = Peer::saying(&text.replace("\"ingester\"", "\"<img src=x onerror=alert(1)>\""));
    let targets = format!("{address},{},127.0.0.1:1", peer.at());
    let mut fleet = Process::start(&mut certagent([
        "fleet",
        "--target",
        &targets,
        "--listen",
        "127.0.0.1:0",
    ]));
    let line = fleet.wait_for_line("the fleet is at ", PATIENCE);
    let url = line.rsplit(' ').next().unwrap().to_owned();
    wait_for("a first look", PATIENCE, || {
        let answer = http::request(&url, None, "GET", "/fleet.json", &[], None).ok()?;
        (answer.status == 200).then_some(())
    });
    (fleet, url, vec![one], peer)
}

#[test]
fn the_page_has_rows_no_script_and_a_policy_and_listens_on_loopback_unless_allowed() {
    let place = Place::new();
    let (_fleet, url, _agents, _peer) = served(&place);
    let page = http::request(&url, None, "GET", "/", &[], None).unwrap();
    let head = page.head.to_ascii_lowercase();
    assert!(
        head.contains("default-src 'none'") && head.contains("text/html"),
        "{head}"
    );
    assert_eq!(
        page.text.matches("class=\"row\"").count(),
        3,
        "{}",
        page.text
    );
    assert!(
        page.text.contains("&lt;img src=x")
            && !page.text.contains("<img")
            && !page.text.contains("<script")
    );
    assert!(page.text.contains("http-equiv=\"refresh\"") && !page.text.contains("http://www"));
    let json = http::request(&url, None, "GET", "/fleet.json", &[], None)
        .unwrap()
        .json();
    assert_eq!(json["summary"]["no-answer"], 1, "{json}");
    let open = certagent(["fleet", "--target", "127.0.0.1:1", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(2), "{open:?}");
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_shows_the_failing_instance_first_in_light_and_dark_and_on_a_telephone() {
    let place = Place::new();
    let (_fleet, url, _agents, _peer) = served(&place);
    let browse = |arguments: &[&str]| {
        let profile = place.path("profile").display().to_string();
        let output = Command::new(tool("chromium"))
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--virtual-time-budget=2000",
            ])
            .arg(format!("--user-data-dir={profile}"))
            .args(arguments.iter().filter(|one| !one.is_empty()))
            .arg(&url)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let dom = browse(&["--dump-dom"]);
    let rows: Vec<&str> = dom.split("<tr class=\"row\">").skip(1).collect();
    assert_eq!(rows.len(), 3, "{dom}");
    assert!(
        rows[0].contains("class=\"bad\">no-answer"),
        "the failing one is on top: {}",
        rows[0]
    );
    assert!(rows[1].contains("class=\"good\">ready"), "{}", rows[1]);
    assert!(!dom.contains("<img"), "markup from outside is text");
    let keep = std::env::var_os("CERTAGENT_SCREENSHOT");
    for (name, size, more) in [
        ("light.png", "1100,520", ""),
        (
            "dark.png",
            "1100,520",
            "--blink-settings=preferredColorScheme=0",
        ),
        ("telephone.png", "390,720", ""),
    ] {
        let file = place.path(name);
        browse(&[
            &format!("--screenshot={}", file.display()),
            &format!("--window-size={size}"),
            more,
        ]);
        let image = std::fs::read(&file).unwrap();
        assert!(
            image.starts_with(b"\x89PNG") && image.len() > 4_000,
            "{name}: {} bytes",
            image.len()
        );
        if let Some(keep) = &keep {
            std::fs::copy(&file, Path::new(keep).join(name)).unwrap();
        }
    }
    let shot = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_ne!(shot("light.png"), shot("dark.png"));
}
