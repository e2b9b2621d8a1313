//! The surface that takes orders: who sends one is found out, then it is read, handed on and answered.
//!
//! Refuses to read what a stranger sends, to queue more than a few orders, and to wait for ever for what came of one.
//! Refusals are logged, as often as one place in the code may log.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::token::{Claims, Refused, Seen};
use super::{Key, Order, Reply};

pub const BODY_BYTES_MAX: usize = 16 << 10;
/// Orders that wait for whoever carries them out.
const ORDERS_MAX: usize = 16;
/// Shorter than a silent connection lives.
const REPLY_MAX: Duration = Duration::from_secs(25);

/// An order that came in, and where what came of it is told.
#[derive(Debug)]
pub struct Asked {
    pub order: Order,
    pub reply: oneshot::Sender<Reply>,
}

/// Where orders come in.
#[derive(Debug)]
pub struct Door {
    key: Key,
    seen: Mutex<Seen>,
    orders: mpsc::Sender<Asked>,
}

impl Door {
    /// With what comes in.
    pub fn new(key: Key) -> (Door, mpsc::Receiver<Asked>) {
        let (orders, asked) = mpsc::channel(ORDERS_MAX);
        (Door { key, seen: Mutex::default(), orders }, asked)
    }

    fn find_out(&self, headers: &HeaderMap) -> Result<Claims, Refused> {
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (all.next(), all.next()) else { return Err(Refused::Missing) };
        let token =
            value.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or(Refused::Missing)?;
        self.key.check(token.trim(), Utc::now())
    }
}

/// Takes one order.
pub async fn take(door: &Door, request: Request) -> Response {
    let claims = match door.find_out(request.headers()) {
        Ok(claims) => claims,
        Err(why) => return stranger(why),
    };
    let Ok(body) = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, Reply::refused("the order is too long"));
    };
    let admitted = claims.admit(&body, &mut door.seen.lock(), Utc::now());
    if let Err(why) = admitted {
        return stranger(why);
    }
    let order: Order = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => {
            let said = format!("this version does not know the order: {error}");
            return answer(StatusCode::BAD_REQUEST, Reply::refused(said));
        }
    };
    let (reply, replied) = oneshot::channel();
    if door.orders.try_send(Asked { order, reply }).is_err() {
        let said = "orders are waiting, or the process is ending";
        return answer(StatusCode::SERVICE_UNAVAILABLE, Reply::refused(said));
    }
    match tokio::time::timeout(REPLY_MAX, replied).await {
        Ok(Ok(reply)) => answer(StatusCode::OK, reply),
        Ok(Err(_)) => answer(StatusCode::SERVICE_UNAVAILABLE, Reply::refused("the process is ending")),
        Err(_) => {
            let said = "nothing came of it in time; it may still be carried out";
            answer(StatusCode::GATEWAY_TIMEOUT, Reply::refused(said))
        }
    }
}

fn stranger(why: Refused) -> Response {
    tracing::warn!(%why, "an order to the line was refused");
    let mut refused =
        answer(StatusCode::UNAUTHORIZED, Reply::refused(format!("the token is not taken: {why}")));
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    refused
}

fn answer(status: StatusCode, reply: Reply) -> Response {
    (status, Json(reply)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::super::{Act, Pause};
    use super::*;

    fn request(token: &str, body: &[u8]) -> Request {
        let request =
            Request::post(super::super::PATH).header(header::AUTHORIZATION, format!("Bearer {token}"));
        request.body(Body::from(body.to_vec())).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_is_handed_on_and_answered_and_strangers_are_not_heard() {
        let key = Key::new(&[b'k'; 32]);
        let (door, mut asked) = Door::new(key.clone());
        let act = Act::Pause(Pause {
            id: "1".to_owned(),
            topic: "t".to_owned(),
            for_ms: 5,
            until: "then".to_owned(),
            reason: "why".to_owned(),
        });
        let order = Order { actor: "ann".to_owned(), act };
        let body = serde_json::to_vec(&order).unwrap();
        let token = |body: &[u8]| key.token(body, Utc::now()).unwrap().expose().to_owned();
        let carry_out = async {
            let one = asked.recv().await.unwrap();
            assert_eq!(one.order, order);
            one.reply.send(Reply::done("so be it")).unwrap();
            asked
        };
        let (taken, mut asked) = tokio::join!(take(&door, request(&token(&body), &body)), carry_out);
        assert_eq!(taken.status(), StatusCode::OK);

        let other = Key::new(&[b'o'; 32]).token(&body, Utc::now()).unwrap();
        let long = vec![b' '; BODY_BYTES_MAX + 1];
        for (token, body, status) in [
            (other.expose().to_owned(), &body, StatusCode::UNAUTHORIZED),
            (token(b"another"), &body, StatusCode::UNAUTHORIZED),
            (token(b"{}"), &b"{}".to_vec(), StatusCode::BAD_REQUEST),
            (token(&long), &long, StatusCode::PAYLOAD_TOO_LARGE),
        ] {
            assert_eq!(take(&door, request(&token, body)).await.status(), status);
        }
        let bare = Request::post(super::super::PATH).body(Body::empty()).unwrap();
        assert_eq!(take(&door, bare).await.status(), StatusCode::UNAUTHORIZED);
        assert!(asked.try_recv().is_err(), "nobody of them was heard");

        // Nobody carries anything out.
        assert_eq!(take(&door, request(&token(&body), &body)).await.status(), StatusCode::GATEWAY_TIMEOUT);
        for _ in 1..ORDERS_MAX {
            let (reply, _) = oneshot::channel();
            door.orders.try_send(Asked { order: order.clone(), reply }).unwrap();
        }
        let full = take(&door, request(&token(&body), &body)).await;
        assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
