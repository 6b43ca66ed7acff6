//! The fleet as a page for people, and as `/fleet.json` beside it.
//!
//! Never shows a text from outside as markup, and asks no agent because a page is read: every reader sees
//! the newest sweep. What stays true: the row that is worst is on top.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use super::{FleetReport, Sweep};
use crate::{
    model::{
        duration,
        fleet::{AnchorRow, Row, RowState, anchors, summary},
        time::Timestamp,
    },
    observe::{
        limited::Limited,
        page::{answer, bar, document, escape},
    },
};

/// How long one connection may take in all.
const CONNECTION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// What the marks of [`cell`] mean.
pub const LEGEND: &str = "● loaded by the application  ◑ in its CA.pem, not loaded  ○ in its CA.pem, not \
                          known whether loaded  ✓ its own certificate is signed by it";

/// The newest sweep, or why there is none.
pub type Newest = Option<Result<Arc<Sweep>, String>>;

/// Answers for ever.
pub async fn serve(listener: TcpListener, newest: watch::Receiver<Newest>) {
    let routes = Router::new()
        .route("/", get(page))
        .route("/fleet.json", get(json))
        .with_state(newest);
    let _ended = axum::serve(Limited::new(listener, Some(CONNECTION_TIMEOUT)), routes).await;
}

async fn page(State(newest): State<watch::Receiver<Newest>>) -> Response {
    let newest = newest.borrow().clone();
    let body = match newest {
        Some(Ok(sweep)) => render(&sweep),
        Some(Err(why)) => format!(
            "<h1>certagent fleet</h1><p class=\"bad\">{}</p>",
            escape(&why)
        ),
        None => "<h1>certagent fleet</h1><p>The first look is under way.</p>".to_owned(),
    };
    answer(document("certagent fleet", &body))
}

async fn json(State(newest): State<watch::Receiver<Newest>>) -> Response {
    let newest = newest.borrow().clone();
    match newest {
        Some(Ok(sweep)) => Json(FleetReport::from(&*sweep)).into_response(),
        Some(Err(why)) => (
            StatusCode::BAD_GATEWAY,
            Json(serde_json::json!({ "error": why })),
        )
            .into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn class(state: RowState) -> &'static str {
    match state {
        RowState::Ready => "good",
        RowState::Degraded => "warn",
        _ => "bad",
    }
}

fn render(sweep: &Sweep) -> String {
    let mut body = format!(
        "<h1>certagent fleet</h1><p class=\"faint\">{}</p><p>",
        sweep.at
    );
    for (state, count) in summary(&sweep.rows) {
        let _ = write!(
            body,
            "<b class=\"{}\">{count} {}</b> ",
            class(state),
            state.name()
        );
    }
    body.push_str("</p><div class=\"wide\"><table><tr><th>state<th>component<th>instance<th>left<th class=\"more\">renews<th>serves<th class=\"more\">node<th class=\"more\">serial</tr>");
    for row in &sweep.rows {
        line(&mut body, row, sweep.at);
    }
    body.push_str("</table></div>");
    matrix(&mut body, sweep);
    body
}

fn line(body: &mut String, row: &Row, now: Timestamp) {
    let class = class(row.state);
    let left = row.leaf.as_ref().map(|leaf| {
        let left = duration::brief(now.until(leaf.not_after));
        format!("{}{left}", bar(leaf.left(now), class))
    });
    let due = row.leaf.as_ref().and_then(|leaf| leaf.due);
    let who = &row.who;
    let serial = row.leaf.as_ref().map_or("", |leaf| &leaf.serial);
    let serial: String = serial.chars().take(17).collect();
    let _ = write!(
        body,
        "<tr class=\"row\"><td class=\"{class}\">{}<td>{}<td title=\"{}\"><code>{}</code><td>{}<td class=\"more\">{}<td>{}\
         <td class=\"more\">{}<td class=\"more\"><code>{}</code></tr>",
        row.state.name(),
        escape(&who.component),
        escape(&who.instance),
        escape(who.short()),
        left.unwrap_or_default(),
        due.map_or_else(String::new, |due| duration::brief(now.until(due))),
        escape(row.leaf.as_ref().map_or("", |leaf| &leaf.serving)),
        escape(&who.node),
        escape(&serial),
    );
    for trouble in &row.troubles {
        let _ = write!(
            body,
            "<tr><td class=\"why {class}\" colspan=\"8\">{}</tr>",
            escape(trouble)
        );
    }
}

/// Anchors by instances: trusted, loaded, signed by it.
fn matrix(body: &mut String, sweep: &Sweep) {
    let (rows, change) = (&sweep.rows, &sweep.change);
    let phase = change.phase(rows);
    let _ = write!(body, "<h2>Trust: {}</h2>", escape(phase.words()));
    let blockers = phase
        .goal()
        .map(|goal| change.blockers(goal, rows))
        .unwrap_or_default();
    for blocker in blockers.iter().take(20) {
        let _ = write!(
            body,
            "<p class=\"warn\">{}</p>",
            escape(&blocker.to_string())
        );
    }
    let _ = write!(
        body,
        "<p class=\"faint\">{LEGEND}</p><div class=\"wide\"><table><tr><th>instance"
    );
    let known = anchors(rows);
    for anchor in &known {
        let _ = write!(
            body,
            "<th title=\"{}\">{} <b>{}</b><br><code>{}</code>",
            escape(&anchor.sha256),
            escape(&anchor.subject),
            change.mark(anchor),
            escape(anchor.short())
        );
    }
    body.push_str("</tr>");
    for row in rows {
        let _ = write!(body, "<tr><td>{}", escape(&row.who.label()));
        for anchor in &known {
            let _ = write!(body, "<td>{}", cell(row, anchor));
        }
        body.push_str("</tr>");
    }
    body.push_str("</table></div>");
}

/// One cell of the matrix, as on the terminal.
#[must_use]
pub fn cell(row: &Row, anchor: &AnchorRow) -> String {
    let trusted = row
        .anchors
        .iter()
        .find(|one| one.sha256 == anchor.sha256)
        .map(|one| one.loaded);
    let mark = match trusted {
        None => " ",
        Some(Some(true)) => "●",
        Some(Some(false)) => "◑",
        Some(None) => "○",
    };
    let signed = row
        .leaf
        .as_ref()
        .is_some_and(|leaf| leaf.anchor_sha256 == anchor.sha256);
    format!("{mark}{}", if signed { "✓" } else { "" })
}
