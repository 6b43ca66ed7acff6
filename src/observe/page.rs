//! Pages for people: one HTML document without a script, and nothing fetched from elsewhere.
//!
//! Never shows a text from outside as markup. What stays true: a page has one style, says what is
//! wrong before everything else, and loads itself anew.

use axum::{
    http::{
        HeaderValue,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse as _, Response},
};

use super::{
    readiness::{readiness, serving},
    view::View,
};
use crate::{
    model::{duration, foreign::harmless},
    status::{Serving, Status},
};

/// Seconds after which a page loads itself anew.
const REFRESH_SECS: u32 = 5;

/// No script, no frame, nothing from elsewhere; CSP Level 3.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;--good:#17803d;--warn:#a15c00;--bad:#c0262d;--line:#8884;--faint:#777}\
@media(prefers-color-scheme:dark){:root{--good:#4ade80;--warn:#fbbf24;--bad:#ff7b7b;--faint:#999}}\
body{font:15px/1.45 system-ui,sans-serif;margin:1.2rem auto;max-width:80rem;padding:0 .8rem}\
h1{font-size:1.3rem;margin:0}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}p{margin:.3rem 0}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{padding:.3rem .6rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}\
th,.faint{color:var(--faint);font-weight:normal}td.why{white-space:normal;min-width:14rem}\
code{font:.9em ui-monospace,monospace}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}\
.bar{display:inline-block;width:5rem;height:.6rem;background:var(--line);border-radius:.3rem;overflow:hidden;margin-right:.4rem}\
.bar i{display:block;height:100%;background:currentColor}\
@media(max-width:40rem){.more,.bar{display:none}th,td{padding:.3rem .3rem;white-space:normal}code{overflow-wrap:anywhere}}";

/// `text` inside of an element or a quoted attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A document; `title` is text, `body` is markup.
#[must_use]
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_SECS}\"><link rel=\"icon\" href=\"data:,\">\
         <title>{}</title><style>{STYLE}</style></head><body>{body}</body></html>\n",
        escape(title)
    )
}

/// A document as an answer.
#[must_use]
pub fn answer(document: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (
        headers.map(|(name, value)| (name, HeaderValue::from_static(value))),
        document,
    )
        .into_response()
}

/// What share of a life is left, as a bar.
#[must_use]
pub fn bar(left: f64, class: &str) -> String {
    let percent = (left.clamp(0.0, 1.0) * 100.0).round();
    format!("<span class=\"bar {class}\"><i style=\"width:{percent}%\"></i></span>")
}

/// The page of one agent.
pub(super) fn agent(view: &View) -> String {
    let id = &view.identity;
    let rows: String = view.statuses.iter().map(|one| row(one, view)).collect();
    let body = format!(
        "<h1>certagent {}</h1><p class=\"faint\">{} on {}, up {}</p><div class=\"wide\"><table><tr>\
         <th>certificate<th>state<th>left<th>renews<th>serves<th class=\"more\">serial<th></tr>{rows}</table></div>\
         <p><a href=\"status\">status</a> <a href=\"ready\">ready</a> <a href=\"metrics\">metrics</a></p>",
        env!("CARGO_PKG_VERSION"),
        escape(&id.instance),
        escape(&id.node),
        duration::brief(view.started.until(view.now)),
    );
    document(&format!("certagent {}", id.instance), &body)
}

fn row(one: &Status, view: &View) -> String {
    let found = readiness(one, view.now);
    let (class, state) = match (found.is_ready(), found.degraded.is_empty()) {
        (true, true) => ("good", "ready"),
        (true, false) => ("warn", "degraded"),
        (false, _) => ("bad", "not ready"),
    };
    let why: Vec<String> = found
        .reasons
        .iter()
        .chain(&found.degraded)
        .map(|one| escape(&one.message))
        .collect();
    let serves = match serving(one) {
        Serving::Current => "the published one",
        Serving::Old => "another one",
        Serving::Unknown => "not known",
    };
    let left = one.live.as_ref().map(|live| {
        let (left, life) = (
            view.now.until(live.not_after),
            live.not_before.until(live.not_after),
        );
        let share = left.as_secs_f64() / life.as_secs_f64().max(1.0);
        format!("{}{}", bar(share, class), duration::brief(left))
    });
    let due = one.due.map(|due| duration::brief(view.now.until(due)));
    format!(
        "<tr><td>{}<td class=\"{class}\">{state}<td>{}<td>{}<td>{serves}<td class=\"more\"><code>{}</code><td class=\"why\">{}</tr>",
        escape(&one.name),
        left.unwrap_or_default(),
        due.map_or_else(String::new, |due| format!("in {due}")),
        escape(one.live.as_ref().map_or("", |live| &live.serial)),
        why.join("<br>"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{
        readiness::tests::{NOW, healthy},
        view::AgentIdentity,
    };

    #[test]
    fn a_page_shows_what_is_wrong_and_no_foreign_markup() {
        let mut status = healthy();
        status.name = "<script>alert(1)</script>".to_owned();
        status.app.reload_exhausted = Some("\"tried\" & <b>failed</b>\u{1b}[2J".to_owned());
        let view = View {
            identity: AgentIdentity::default(),
            started: NOW,
            now: NOW,
            statuses: vec![status],
            log_lines_dropped: 0,
            vault_plain_http: false,
        };
        let text = agent(&view);
        assert!(
            !text.contains("<script") && !text.contains("<b>") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert!(
            text.contains("&quot;tried&quot; &amp; &lt;b&gt;failed"),
            "{text}"
        );
        assert!(
            text.contains("degraded") && text.contains("width:90%"),
            "{text}"
        );
    }
}
