//! JWT login: keys, roles, and the checks of a token in OpenBao's order with its texts.
//!
//! Never fetches keys (no JWKS, no OIDC). What stays true: no claim is looked at before a
//! configured key has verified the signature.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, Outcome, Refused},
    auth::{Login, overlay},
    call::{Call, Op},
    fields::{self, Fields, Kind, Schema},
    store,
};

mod claims;

/// One JWT mount.
#[derive(Default)]
pub(super) struct Jwt {
    config: Option<Map<String, Value>>,
    keys: Vec<(AlgorithmFamily, DecodingKey)>,
    roles: BTreeMap<String, Map<String, Value>>,
}

const CONFIG: Schema = &[
    ("jwt_validation_pubkeys", Kind::List),
    ("jwt_supported_algs", Kind::List),
    ("default_role", Kind::Text),
    ("bound_issuer", Kind::Text),
];

const ROLE: Schema = &[
    ("role_type", Kind::Text),
    ("bound_audiences", Kind::List),
    ("bound_claims", Kind::Object),
    ("bound_claims_type", Kind::Text),
    ("bound_subject", Kind::Text),
    ("user_claim", Kind::Text),
    ("user_claim_json_pointer", Kind::Bool),
    ("claim_mappings", Kind::Object),
    ("allowed_redirect_uris", Kind::List),
    ("clock_skew_leeway", Kind::Seconds),
    ("expiration_leeway", Kind::Seconds),
    ("not_before_leeway", Kind::Seconds),
    ("token_policies", Kind::List),
    ("token_ttl", Kind::Seconds),
    ("token_max_ttl", Kind::Seconds),
    ("token_explicit_max_ttl", Kind::Seconds),
    ("token_period", Kind::Seconds),
    ("token_num_uses", Kind::Int),
    ("token_no_default_policy", Kind::Bool),
    ("token_type", Kind::Text),
    ("token_bound_cidrs", Kind::List),
];

const LOGIN: Schema = &[("role", Kind::Text), ("jwt", Kind::Text)];

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn config_defaults() -> Map<String, Value> {
    object(json!({
        "bound_issuer": "", "default_role": "", "jwks_ca_pem": "", "jwks_url": "",
        "jwt_supported_algs": [], "jwt_validation_pubkeys": [], "namespace_in_state": true,
        "oidc_client_id": "", "oidc_discovery_ca_pem": "", "oidc_discovery_url": "",
        "oidc_response_mode": "", "oidc_response_types": [], "override_allowed_server_names": [],
        "provider_config": {}, "status": "valid",
    }))
}

fn role_defaults() -> Map<String, Value> {
    object(json!({
        "allowed_redirect_uris": null, "bound_audiences": null, "bound_claims": null,
        "bound_claims_type": "string", "bound_subject": "", "callback_mode": "client",
        "claim_mappings": null, "clock_skew_leeway": 0, "expiration_leeway": 0,
        "groups_claim": "", "max_age": 0, "not_before_leeway": 0, "oauth2_metadata": null,
        "oidc_disable_confirmation": false, "oidc_scopes": null, "role_type": "oidc",
        "token_bound_cidrs": [], "token_explicit_max_ttl": 0, "token_max_ttl": 0,
        "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0,
        "token_policies": [], "token_policies_template_claims": false,
        "token_strictly_bind_ip": false, "token_ttl": 0, "token_type": "default",
        "user_claim": "", "user_claim_json_pointer": false, "verbose_oidc_logging": false,
    }))
}

impl Jwt {
    /// Answers below the mount, login excepted.
    pub(super) fn answer(&mut self, call: &Call, rest: &str) -> Outcome {
        match (rest, call.op) {
            ("config", Op::Read) => match &self.config {
                Some(config) => Ok(Answer::data(Value::Object(config.clone()))),
                None => Err(Refused::absent()),
            },
            ("config", Op::Update) => self.configure(&call.fields(CONFIG)?),
            ("role/", Op::List) => store::keys(self.roles.keys().cloned().collect()),
            ("login" | "config", _) => Err(Refused::no_operation()),
            _ => match rest.strip_prefix("role/") {
                Some(name) if !name.contains('/') => self.role(call, &name.to_lowercase()),
                _ => Err(Refused::no_path()),
            },
        }
    }

    fn configure(&mut self, fields: &Fields) -> Outcome {
        let pems = fields.list("jwt_validation_pubkeys");
        if pems.is_empty() {
            return Err(Refused::bad(
                "exactly one of 'jwt_validation_pubkeys', 'jwks_url', 'jwks_pairs', \
                 'oidc_discovery_url', or 'provider_config' must be set",
            ));
        }
        let keys: Option<Vec<_>> = pems.iter().map(|pem| public_key(pem)).collect();
        self.keys = keys.ok_or_else(|| {
            Refused::bad(
                "error parsing public key: data does not contain any valid public keys".to_owned(),
            )
        })?;
        let mut config = config_defaults();
        overlay(&mut config, fields);
        self.config = Some(config);
        Ok(Answer::Nothing)
    }

    fn role(&mut self, call: &Call, name: &str) -> Outcome {
        match call.op {
            Op::Read => {
                let role = self.roles.get(name).ok_or_else(Refused::absent)?;
                Ok(Answer::data(Value::Object(role.clone())))
            }
            Op::Delete => {
                self.roles.remove(name);
                Ok(Answer::Nothing)
            }
            Op::List => Err(Refused::no_path()),
            Op::Update => {
                let fields = call.fields(ROLE)?;
                let known = self.roles.get(name).cloned();
                let mut role = known.unwrap_or_else(role_defaults);
                overlay(&mut role, &fields);
                check_role(&role)?;
                self.roles.insert(name.to_owned(), role);
                Ok(Answer::Nothing)
            }
        }
    }

    /// Checks a JWT against a role.
    pub(super) fn login(&self, call: &Call) -> Result<Login, Refused> {
        let fields = call.fields(LOGIN)?;
        let Some(config) = &self.config else {
            return Err(Refused::bad("could not load configuration"));
        };
        let name = match fields.text("role") {
            "" => config.get("default_role").and_then(Value::as_str),
            name => Some(name),
        };
        let name = name.unwrap_or_default().to_lowercase();
        if name.is_empty() {
            return Err(Refused::bad("missing role"));
        }
        let Some(role) = self.roles.get(&name) else {
            return Err(Refused::bad(format!("role \"{name}\" could not be found")));
        };
        if role.get("role_type").and_then(Value::as_str) == Some("oidc") {
            return Err(Refused::bad("role with oidc role_type is not allowed"));
        }
        if fields.text("jwt").is_empty() {
            return Err(Refused::bad("missing token"));
        }
        let claims = self
            .verified_claims(fields.text("jwt"))
            .and_then(|claims| claims::check(&claims, role, call.now).map(|()| claims))
            .map_err(|why| Refused::bad(format!("error validating token: {why}")))?;
        claims::login(&claims, &name, role).map_err(Refused::bad)
    }

    /// The claims, once a configured key has verified the signature.
    fn verified_claims(&self, jwt: &str) -> Result<Value, String> {
        let fail = |why: &str| format!("error verifying token signature: {why}");
        let parts: Vec<&str> = jwt.split('.').collect();
        let [_, payload, signature] = parts[..] else {
            return Err(fail(
                "go-jose/go-jose: compact JWS format must have three parts",
            ));
        };
        let unknown = || fail("no known key successfully validated the token signature");
        let header = jsonwebtoken::decode_header(jwt).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::Base64(_) => {
                fail("illegal base64 data at input byte 0")
            }
            _ => unknown(),
        })?;
        let message = &jwt.as_bytes()[..jwt.len() - signature.len() - 1];
        let verified = self.keys.iter().any(|(family, key)| {
            header.alg.family() == *family
                && allowed(header.alg)
                && jsonwebtoken::crypto::verify(signature, message, key, header.alg)
                    .unwrap_or(false)
        });
        if !verified {
            return Err(unknown());
        }
        let _ = payload;
        jsonwebtoken::dangerous::insecure_decode_claims(jwt)
            .map_err(|_| "failed to unmarshal claims".to_owned())
    }
}

/// The algorithms OpenBao accepts when `jwt_supported_algs` is empty: all but HMAC.
fn allowed(alg: Algorithm) -> bool {
    !matches!(alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

fn public_key(pem: &str) -> Option<(AlgorithmFamily, DecodingKey)> {
    let pem = pem.as_bytes();
    let rsa = || Some((AlgorithmFamily::Rsa, DecodingKey::from_rsa_pem(pem).ok()?));
    let ec = || Some((AlgorithmFamily::Ec, DecodingKey::from_ec_pem(pem).ok()?));
    let ed = || Some((AlgorithmFamily::Ed, DecodingKey::from_ed_pem(pem).ok()?));
    rsa().or_else(ec).or_else(ed)
}

fn check_role(role: &Map<String, Value>) -> Result<(), Refused> {
    let text = |name| role.get(name).and_then(Value::as_str).unwrap_or_default();
    let listed = |name| !fields::strings(role.get(name)).is_empty();
    let role_type = text("role_type");
    if !matches!(role_type, "jwt" | "oidc") {
        return Err(Refused::bad(format!("invalid 'role_type': {role_type}")));
    }
    if text("user_claim").is_empty() {
        return Err(Refused::bad("a user claim must be defined on the role"));
    }
    if role_type == "oidc" && !listed("allowed_redirect_uris") {
        return Err(Refused::bad(
            "'allowed_redirect_uris' must be set if 'role_type' is 'oidc' or unspecified.",
        ));
    }
    let bound = listed("bound_audiences")
        || !text("bound_subject").is_empty()
        || role.get("bound_claims").is_some_and(Value::is_object);
    if role_type == "jwt" && !bound {
        return Err(Refused::bad(
            "must have at least one bound constraint when creating/updating a role",
        ));
    }
    Ok(())
}
