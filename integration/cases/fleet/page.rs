//! The page of the fleet, as it is served and as a browser shows it.

use std::{path::Path, process::Command};

use super::{Peer, agent, status};
use crate::rig::{PATIENCE, Place, Process, certagent, http, tool, wait_for};

/// Two well agents, one that fails, and one whose name is markup.
fn served(place: &Place) -> (Process, String, Vec<Process>, Peer) {
    let (one, address) = agent(place);
    let peer =
        Peer::saying(&status(&address).replace("\"ingester\"", "\"<img src=x onerror=alert(1)>\""));
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
    let (table, matrix) = page.text.split_once("<h2>Trust: one root</h2>").unwrap();
    assert!(
        table.contains("no-answer<td><td title=\"\"><code>127.0.0.1:1</code>"),
        "{table}"
    );
    assert_eq!(
        matrix.matches("<td>●✓").count() + matrix.matches("<td>○✓").count(),
        2,
        "{matrix}"
    );
    let json = http::request(&url, None, "GET", "/fleet.json", &[], None)
        .unwrap()
        .json();
    assert_eq!(json["summary"]["no-answer"], 1, "{json}");
    let open = certagent(["fleet", "--target", "127.0.0.1:1", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(open.status.code(), Some(2), "{open:?}");
    let allowed = [
        "--target",
        "127.0.0.1:1",
        "--listen",
        "0.0.0.0:0",
        "--allow-remote",
    ];
    let mut allowed = Process::start(certagent(["fleet"]).args(allowed));
    allowed.wait_for_line("the fleet is at http://0.0.0.0:", PATIENCE);
}

/// Prints the size of a PNG without alpha or interlace, and how many of its pixels have about each colour
/// (PNG, 9.2: the filters).
const PIXELS: &str = r"
import struct, sys, zlib
raw, at, data = open(sys.argv[1], 'rb').read(), 8, b''
while at < len(raw):
    size, kind = struct.unpack('>I4s', raw[at : at + 8])
    body, at = raw[at + 8 : at + 8 + size], at + 12 + size
    if kind == b'IHDR':
        width, height, depth, colour, _, _, interlace = struct.unpack('>IIBBBBB', body)
        assert (depth, interlace) == (8, 0) and colour in (2, 6)
    data += body if kind == b'IDAT' else b''
step = 3 if colour == 2 else 4
data, line, lines = zlib.decompress(data), width * step, []
above = bytearray(line)
for y in range(height):
    start = y * (line + 1)
    kind, now = data[start], bytearray(data[start + 1 : start + 1 + line])
    for x in range(line):
        a, b = (now[x - step] if x >= step else 0), above[x]
        c = above[x - step] if x >= step else 0
        near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
        now[x] = (now[x] + (0, a, b, (a + b) // 2, near)[kind]) % 256
    lines.append(now)
    above = now
pixels = [tuple(each[x : x + 3]) for each in lines for x in range(0, line, step)]
print(width, height, *(
    sum(all(abs(p - w) < 9 for p, w in zip(pixel, bytes.fromhex(wanted))) for pixel in pixels) for wanted in sys.argv[2:]
))
";

fn pixels(image: &Path, colours: [&str; 2]) -> Vec<u32> {
    let output = Command::new("python3")
        .args(["-c", PIXELS])
        .arg(image)
        .args(colours)
        .output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers = said.split_whitespace().map(|word| word.parse().unwrap());
    let found: Vec<u32> = numbers.collect();
    assert_eq!(found.len(), 4, "{output:?}");
    found
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
    let dark = "--blink-settings=preferredColorScheme=0";
    // what fails and what is well, as the style has them; a picture is what is seen without scrolling
    let (light_colours, dark_colours) = (["c0262d", "17803d"], ["ff7b7b", "4ade80"]);
    for (name, size, more, colours) in [
        ("light.png", [1100, 520], "", light_colours),
        ("dark.png", [1100, 520], dark, dark_colours),
        ("telephone.png", [390, 720], "", light_colours),
    ] {
        let file = place.path(name);
        browse(&[
            &format!("--screenshot={}", file.display()),
            &format!("--window-size={},{}", size[0], size[1]),
            more,
        ]);
        let found = pixels(&file, colours);
        assert_eq!(found[..2], size, "{name}");
        assert!(found[2] >= 20 && found[3] >= 20, "{name}: {found:?}");
        if let Some(keep) = &keep {
            std::fs::copy(&file, Path::new(keep).join(name)).unwrap();
        }
    }
}
