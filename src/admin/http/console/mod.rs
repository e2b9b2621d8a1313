//! The page of the console: the files of this folder, as they are.
//!
//! Refuses to know anything of the state that the page shows, and to answer anything but the files: they hold no secret and
//! need no token, while all that they ask for does. Nothing in them is made up while running, so a policy can refuse
//! every script and style that is not one of them.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use sha2::{Digest, Sha256};

const HOME: &str = "/console/";
/// Scripts can make no markup out of text, so a record that holds some stays text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Kept, and asked for again each time: the page is always that of the process.
    (header::CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// One file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

static FILES: [File; 22] = [
    File { path: HOME, kind: "text/html; charset=utf-8", text: include_str!("index.html") },
    File { path: "/console/app.css", kind: "text/css; charset=utf-8", text: include_str!("app.css") },
    File { path: "/console/access.js", kind: SCRIPT, text: include_str!("access.js") },
    File { path: "/console/api.js", kind: SCRIPT, text: include_str!("api.js") },
    File { path: "/console/app.js", kind: SCRIPT, text: include_str!("app.js") },
    File { path: "/console/backups.js", kind: SCRIPT, text: include_str!("backups.js") },
    File { path: "/console/care.js", kind: SCRIPT, text: include_str!("care.js") },
    File { path: "/console/dialogs.js", kind: SCRIPT, text: include_str!("dialogs.js") },
    File { path: "/console/dom.js", kind: SCRIPT, text: include_str!("dom.js") },
    File { path: "/console/format.js", kind: SCRIPT, text: include_str!("format.js") },
    File { path: "/console/letters.js", kind: SCRIPT, text: include_str!("letters.js") },
    File { path: "/console/lifecycle.js", kind: SCRIPT, text: include_str!("lifecycle.js") },
    File { path: "/console/line.js", kind: SCRIPT, text: include_str!("line.js") },
    File { path: "/console/migrations.js", kind: SCRIPT, text: include_str!("migrations.js") },
    File { path: "/console/overview.js", kind: SCRIPT, text: include_str!("overview.js") },
    File { path: "/console/press.js", kind: SCRIPT, text: include_str!("press.js") },
    File { path: "/console/replay.js", kind: SCRIPT, text: include_str!("replay.js") },
    File { path: "/console/schedules.js", kind: SCRIPT, text: include_str!("schedules.js") },
    File { path: "/console/signin.js", kind: SCRIPT, text: include_str!("signin.js") },
    File { path: "/console/tables.js", kind: SCRIPT, text: include_str!("tables.js") },
    File { path: "/console/ui.js", kind: SCRIPT, text: include_str!("ui.js") },
    File { path: "/console/works.js", kind: SCRIPT, text: include_str!("works.js") },
];

/// One tag for all files: a page is made of files of one version, or it is loaded again.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for file in &FILES {
        digest.update(file.path);
        digest.update(file.text);
    }
    let mut tag = String::from("\"");
    for byte in digest.finalize().iter().take(12) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
});

/// The routes of the page, beside those of the table.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let home = || get(async || Redirect::permanent(HOME));
    let router = Router::new().route("/", home()).route("/console", home());
    FILES.iter().fold(router, |router, file| router.route(file.path, serve(file)))
}

fn serve<S: Clone + Send + Sync + 'static>(file: &'static File) -> MethodRouter<S> {
    get(async move |headers: HeaderMap| answer(file, &headers))
}

fn answer(file: &File, asked: &HeaderMap) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == TAG.as_str());
    let mut answer = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, file.kind)], file.text).into_response(),
    };
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&TAG) {
        headers.insert(header::ETAG, tag);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_and_names_none_that_is_not() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/http/console");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = if name == "index.html" { HOME.to_owned() } else { format!("{HOME}{name}") };
            assert!(name.ends_with(".rs") || FILES.iter().any(|file| file.path == path), "{name}");
        }
        for script in FILES.iter().filter(|file| file.kind == SCRIPT) {
            for imported in script.text.lines().filter_map(|line| line.split(" from \"./").nth(1)) {
                let path = format!("{HOME}{}", imported.trim_end_matches("\";"));
                assert!(FILES.iter().any(|file| file.path == path), "{} wants {path}", script.path);
            }
        }
    }

    #[test]
    fn nothing_is_inline_nothing_comes_from_elsewhere_and_no_text_becomes_markup() {
        for file in &FILES {
            for banned in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "style=", "onclick=\"", "//cdn"]
            {
                assert!(!file.text.contains(banned), "{} has {banned}", file.path);
            }
            let elsewhere = file.text.matches("http://").count() + file.text.matches("https://").count();
            let names_a_format = file.text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(elsewhere, names_a_format, "{}", file.path);
        }
    }

    #[test]
    fn what_is_known_is_not_sent_again_and_both_answers_are_hardened() {
        let mut asked = HeaderMap::new();
        let first = answer(&FILES[0], &asked);
        assert_eq!(first.status(), StatusCode::OK);
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let second = answer(&FILES[0], &asked);
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        for answer in [first, second] {
            assert_eq!(answer.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
        asked.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(answer(&FILES[0], &asked).status(), StatusCode::OK);
    }

    #[test]
    fn the_page_is_small() {
        let bytes: usize = FILES.iter().map(|file| file.text.len()).sum();
        assert!(bytes < 170_000, "{bytes} bytes");
    }
}
