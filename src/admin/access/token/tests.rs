//! Which tokens hold: each claim, each algorithm, each way to pretend.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents};
use jsonwebtoken::{EncodingKey, encode};

use super::*;
use crate::admin::access::Access;
use crate::crypt;

const SECRET: &str = "a secret of at least thirty-two bytes";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).for_each(|n| text.push(char::from(ALPHABET[(bits >> (18 - 6 * n)) as usize & 63])));
    }
    text
}

struct Bench {
    folder: tempfile::TempDir,
    config: Config,
}

impl Bench {
    fn new(jwks: Option<Value>) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (key, set) = (folder.path().join("key"), folder.path().join("set"));
        std::fs::write(&key, SECRET).unwrap();
        let jwks_file = jwks.map(|jwks| {
            std::fs::write(&set, jwks.to_string()).unwrap();
            set
        });
        let config = Config { key_file: Some(key), jwks_file, ..Config::default() };
        Bench { folder, config }
    }

    fn access(&self) -> Access {
        Access::new(&self.config, &crypt::Config::default()).unwrap()
    }

    async fn verify(&self, token: &str) -> Result<Principal, Error> {
        self.access().verify(&Secret::new(token), now()).await
    }
}

fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "penstock", "aud": "penstock", "sub": "alice", "roles": ["operator"],
        "iat": now().timestamp(), "exp": now().timestamp() + 600,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn signed(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A token made by hand, so that nothing of the library keeps it from being wrong.
fn by_hand(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let text =
        format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature = sign(text.as_bytes());
    format!("{text}.{}", base64url(&signature))
}

#[tokio::test]
async fn every_claim_is_looked_at() {
    let bench = Bench::new(None);
    let t = now().timestamp();
    let cases = [
        (json!({}), None),
        (json!({ "exp": null }), Some(Error::Endless)),
        (json!({ "exp": "soon" }), Some(Error::Malformed)),
        (json!({ "exp": 1e300 }), Some(Error::Malformed)),
        (json!({ "exp": t - 29 }), None),
        (json!({ "exp": t - 30 }), Some(Error::Ended)),
        (json!({ "exp": (t as f64) + 0.5 }), None),
        (json!({ "nbf": t + 30 }), None),
        (json!({ "nbf": t + 31 }), Some(Error::NotYet)),
        (json!({ "iat": t + 31 }), Some(Error::NotYet)),
        (json!({ "iss": "other" }), Some(Error::Issuer)),
        (json!({ "iss": null }), Some(Error::Issuer)),
        (json!({ "aud": "other" }), Some(Error::Audience)),
        (json!({ "aud": ["other", "penstock"] }), None),
        (json!({ "aud": null }), Some(Error::Audience)),
        (json!({ "sub": "" }), Some(Error::Nobody)),
        (json!({ "sub": 7 }), Some(Error::Nobody)),
        (json!({ "roles": ["root"] }), Some(Error::Roleless)),
        (json!({ "roles": [] }), Some(Error::Roleless)),
        (json!({ "roles": null }), Some(Error::Roleless)),
        (json!({ "roles": "viewer auditor" }), None),
    ];
    for (changes, expected) in cases {
        assert_eq!(bench.verify(&signed(&claims(&changes))).await.err(), expected, "{changes}");
    }
    let two =
        bench.verify(&signed(&claims(&json!({ "roles": ["auditor", "root", "viewer", "viewer"] })))).await;
    assert_eq!(two.unwrap().roles, [Role::Viewer, Role::Auditor]);
}

#[tokio::test]
async fn what_is_issued_is_taken_and_refreshed_up_to_a_limit() {
    let mut bench = Bench::new(None);
    bench.config.roles_claim = "realm.access".to_owned();
    let access = bench.access();
    let request = Request {
        subject: "alice".to_owned(),
        roles: vec![Role::DataAdmin],
        pii: false,
        life: Duration::from_secs(3600),
    };
    let issued = access.issue(&request, now()).unwrap();
    let bearer = access.verify(&issued.token, now()).await.unwrap();
    assert_eq!((&bearer, bearer.subject.as_str(), bearer.own), (&issued.principal, "alice", true));
    assert!(bearer.actor("x").may(Permission::MigrateUp) && !bearer.actor("x").may(Permission::AuditRead));
    assert!(!format!("{issued:?}").contains(issued.token.expose()));

    let later = |hours| now() + chrono::Duration::hours(hours);
    let mut last = bearer.clone();
    for hour in 1..24 {
        let next = access.refresh(&last, later(hour)).unwrap();
        last = access.verify(&next.token, later(hour)).await.unwrap();
        assert_ne!(last.id, bearer.id);
    }
    assert_eq!(last.ends, access.refresh(&last, later(23)).unwrap().principal.ends, "a day is a day");
    assert_eq!(access.refresh(&last, later(24)).err(), Some(Error::TooLong));
    let too_long = Request { life: Duration::from_secs(86_401), ..request.clone() };
    assert_eq!(access.issue(&too_long, now()).err(), Some(Error::TooLong));
    let nobody = Request { subject: " ".to_owned(), ..request.clone() };
    assert_eq!(access.issue(&nobody, now()).err(), Some(Error::Nobody));
    assert_eq!(access.issue(&Request { roles: vec![], ..request }, now()).err(), Some(Error::Roleless));
}

#[tokio::test]
async fn personal_data_needs_the_role_and_the_flag() {
    let mut bench = Bench::new(None);
    let may = async |bench: &Bench, changes: Value| {
        let bearer = bench.verify(&signed(&claims(&changes))).await.unwrap();
        bearer.actor("x").may(Permission::DeadLetterValue)
    };
    for (changes, expected) in [
        (json!({}), false),
        (json!({ "pii": true }), true),
        (json!({ "pii": false }), false),
        (json!({ "pii": "true" }), false),
        (json!({ "pii": true, "roles": ["viewer"] }), false),
    ] {
        assert_eq!(may(&bench, changes.clone()).await, expected, "{changes}");
    }
    (bench.config.roles_claim, bench.config.pii_claim) = ("realm.roles".to_owned(), "realm.pii".to_owned());
    let nested = |pii: bool| json!({ "pii": true, "realm": { "roles": ["operator"], "pii": pii } });
    assert!(may(&bench, nested(true)).await && !may(&bench, nested(false)).await);
    let request = |pii| Request {
        subject: "a".to_owned(),
        roles: vec![Role::Operator],
        pii,
        life: Duration::from_secs(60),
    };
    let access = bench.access();
    for pii in [true, false] {
        let issued = access.issue(&request(pii), now()).unwrap();
        let bearer = access.verify(&issued.token, now()).await.unwrap();
        let refreshed = access.refresh(&bearer, now()).unwrap().principal;
        assert_eq!((bearer.pii, refreshed.pii, bearer.roles), (pii, pii, vec![Role::Operator]));
    }
}

#[tokio::test]
async fn a_token_does_not_choose_its_algorithm() {
    let bench = Bench::new(None);
    let good = signed(&claims(&json!({})));
    let parts: Vec<&str> = good.split('.').collect();
    let header = |alg: &str| base64url(json!({ "alg": alg, "typ": "JWT" }).to_string().as_bytes());
    for alg in ["none", "None", "HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256"] {
        for signature in [parts[2], ""] {
            let token = format!("{}.{}.{signature}", header(alg), parts[1]);
            let error = bench.verify(&token).await.unwrap_err();
            assert!(
                matches!(error, Error::Algorithm | Error::UnknownKey | Error::Malformed),
                "{alg}: {error:?}"
            );
        }
    }
    let other =
        encode(&Header::new(Algorithm::HS256), &claims(&json!({})), &EncodingKey::from_secret(b"other"))
            .unwrap();
    assert_eq!(bench.verify(&other).await, Err(Error::Signature));
    let named = Header { kid: Some("another".to_owned()), ..Header::new(Algorithm::HS256) };
    let named = encode(&named, &claims(&json!({})), &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    assert_eq!(bench.verify(&named).await, Err(Error::UnknownKey));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let sign = |text: &[u8]| aws_lc_rs::hmac::sign(&key, text).as_ref().to_vec();
    assert!(bench.verify(&by_hand(&json!({ "alg": "HS256" }), &claims(&json!({})), sign)).await.is_ok());
    let critical =
        by_hand(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), &claims(&json!({})), sign);
    assert_eq!(bench.verify(&critical).await, Err(Error::Critical));
    for nonsense in ["", ".", "..", "a.b.c", &"x".repeat(TOKEN_BYTES_MAX + 1), &format!("{good}.x")] {
        assert!(bench.verify(nonsense).await.is_err(), "{nonsense}");
    }
    for at in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        // The last character has bits that stand for nothing.
        assert!(bench.verify(&changed).await.is_err() || at + 1 == good.len(), "{at}");
    }
}

#[tokio::test]
async fn public_keys_verify_by_their_own_algorithm_and_name() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let parts = RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
    let (n, e) = (base64url(&parts.n), base64url(&parts.e));
    let ec = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = ec.public_key().as_ref().to_vec();
    let ed = Ed25519KeyPair::generate().unwrap();
    let set = json!({ "keys": [
        { "kty": "RSA", "kid": "r", "n": n, "e": e, "use": "sig" },
        { "kty": "RSA", "kid": "enc", "n": n, "e": e, "use": "enc" },
        { "kty": "RSA", "kid": "ps", "n": n, "e": e, "alg": "PS256" },
        { "kty": "EC", "crv": "P-256", "kid": "e", "x": base64url(&point[1..33]), "y": base64url(&point[33..]) },
        { "kty": "OKP", "crv": "Ed25519", "kid": "o", "x": base64url(ed.public_key().as_ref()) },
        { "kty": "oct", "kid": "s", "k": base64url(SECRET.as_bytes()), "alg": "HS256" },
        { "kty": "of tomorrow", "kid": "t" },
    ] });
    let bench = Bench::new(Some(set.clone()));
    let by_rsa = |text: &[u8]| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&signature::RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
        signature
    };
    let by_ec = |text: &[u8]| ec.sign(&random, text).unwrap().as_ref().to_vec();
    let by_ed = |text: &[u8]| ed.sign(text).as_ref().to_vec();
    let header = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid, "typ": "JWT" });
    let claims = claims(&json!({}));

    for token in [
        by_hand(&header("RS256", "r"), &claims, by_rsa),
        by_hand(&header("ES256", "e"), &claims, by_ec),
        by_hand(&header("EdDSA", "o"), &claims, by_ed),
        by_hand(&json!({ "alg": "RS256" }), &claims, by_rsa),
    ] {
        let bearer = bench.verify(&token).await.unwrap();
        assert!(!bearer.own);
        assert_eq!(bench.access().refresh(&bearer, now()).err(), Some(Error::Foreign));
    }
    // Keys for other ends, of other algorithms, or of another name.
    for (alg, kid) in [("RS256", "enc"), ("RS256", "ps"), ("RS256", "e"), ("RS256", "x"), ("ES256", "r")] {
        let token = by_hand(&header(alg, kid), &claims, by_rsa);
        assert_eq!(bench.verify(&token).await, Err(Error::UnknownKey), "{alg} {kid}");
    }
    // The best known trick: the public key as the secret.
    for secret in [n.as_bytes(), &parts.n, &point, ed.public_key().as_ref()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let sign = |text: &[u8]| aws_lc_rs::hmac::sign(&key, text).as_ref().to_vec();
        for kid in ["r", "e", "o", "s"] {
            assert!(bench.verify(&by_hand(&header("HS256", kid), &claims, sign)).await.is_err());
        }
        assert_eq!(
            bench.verify(&by_hand(&json!({ "alg": "HS256" }), &claims, sign)).await,
            Err(Error::Signature)
        );
    }
    let forged = by_hand(&header("ES256", "e"), &claims, |_| vec![0; 64]);
    assert_eq!(bench.verify(&forged).await, Err(Error::Signature));
}

#[tokio::test]
async fn a_set_is_read_again_for_a_key_that_it_does_not_know_but_not_all_the_time() {
    let ed = Ed25519KeyPair::generate().unwrap();
    let set = |kid: &str| json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64url(ed.public_key().as_ref()) }] });
    let bench = Bench::new(Some(set("one")));
    let write = |text: &str| std::fs::write(bench.folder.path().join("set"), text).unwrap();
    let access = bench.access();
    let at = |s| now() + chrono::Duration::seconds(s);
    let token = |kid: &str| {
        let claims = claims(&json!({ "exp": at(100_000).timestamp() }));
        Secret::new(by_hand(&json!({ "alg": "EdDSA", "kid": kid }), &claims, |text| {
            ed.sign(text).as_ref().to_vec()
        }))
    };
    assert!(access.verify(&token("one"), at(0)).await.is_ok());
    write(&set("two").to_string());
    assert_eq!(access.verify(&token("two"), at(29)).await, Err(Error::UnknownKey), "asked a moment ago");
    assert!(access.verify(&token("two"), at(30)).await.is_ok());
    assert_eq!(access.verify(&token("one"), at(31)).await, Err(Error::UnknownKey), "a key that is gone");
    write("nothing");
    assert!(access.verify(&token("two"), at(4000)).await.is_ok(), "the last good set stays");
    write(&set("three").to_string());
    assert_eq!(
        access.verify(&token("two"), at(8000)).await,
        Err(Error::UnknownKey),
        "an old set is read again"
    );
}

#[test]
fn contradictions_and_addresses_in_the_open_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Access::new(&Config::default(), &crypt::Config::default()).is_err());
    let url = |url: &str| Config { jwks_url: Some(url.to_owned()), ..Config::default() };
    for bad in ["", "keys", "http://example.com/keys", "ftp://example.com/keys", "https://"] {
        assert!(Access::new(&url(bad), &crypt::Config::default()).is_err(), "{bad}");
    }
    assert!(Access::new(&url("http://127.0.0.1:1/keys"), &crypt::Config::default()).is_ok());
    let both = Config { jwks_file: Some(folder.path().join("x")), ..url("http://localhost:1/keys") };
    assert!(Access::new(&both, &crypt::Config::default()).is_err());
}
