//! Proof of identity: what CONNECT carries for each kind of [`Auth`].

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::{KeyPair, KeyPairType};

use super::endpoint::Auth;
use super::error::WireError;

/// The fields of CONNECT that say who we are.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Identity {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<String>,
}

/// Makes the fields; `nonce` is what the server's INFO asks to sign.
pub(super) fn identify(auth: &Auth, nonce: &str) -> Result<Identity, WireError> {
    match auth {
        Auth::None => Ok(Identity::default()),
        Auth::UserPassword { user, password } => Ok(Identity {
            user: Some(user.clone()),
            pass: Some(password.clone()),
            ..Identity::default()
        }),
        Auth::Token(token) => Ok(Identity {
            auth_token: Some(token.clone()),
            ..Identity::default()
        }),
        Auth::NKeySeed(seed) => {
            let key = user_key("the nkey seed", seed)?;
            let sig = sign("the nkey seed", &key, nonce)?;
            Ok(Identity {
                nkey: Some(key.public_key()),
                sig: Some(sig),
                ..Identity::default()
            })
        }
        Auth::Creds(path) => {
            let (jwt, key) = read_creds(path)?;
            let sig = sign(&path.display().to_string(), &key, nonce)?;
            Ok(Identity {
                jwt: Some(jwt),
                sig: Some(sig),
                ..Identity::default()
            })
        }
    }
}

fn fail(path: &str, reason: impl ToString) -> WireError {
    WireError::Credentials {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn user_key(path: &str, seed: &str) -> Result<KeyPair, WireError> {
    let key = KeyPair::from_seed(seed.trim()).map_err(|error| fail(path, format!("not an nkey seed ({error})")))?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(key),
        other => Err(fail(
            path,
            format!("the seed is of kind {other:?}; a user's begins with SU"),
        )),
    }
}

fn sign(path: &str, key: &KeyPair, nonce: &str) -> Result<String, WireError> {
    if nonce.is_empty() {
        return Err(fail(
            path,
            "the server sent no nonce to sign: it is not configured for nkeys or JWTs",
        ));
    }
    let signature = key
        .sign(nonce.as_bytes())
        .map_err(|error| fail(path, format!("can't sign ({error})")))?;
    Ok(URL_SAFE_NO_PAD.encode(signature))
}

fn read_creds(path: &Path) -> Result<(String, KeyPair), WireError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| fail(&shown, error))?;
    let jwt = block(&text, "NATS USER JWT").ok_or_else(|| fail(&shown, "no block `BEGIN NATS USER JWT`"))?;
    let seed = block(&text, "USER NKEY SEED").ok_or_else(|| fail(&shown, "no block `BEGIN USER NKEY SEED`"))?;
    Ok((jwt, user_key(&shown, &seed)?))
}

/// What stands between the lines `BEGIN label` and `END label`.
fn block(text: &str, label: &str) -> Option<String> {
    let rule = |line: &str, word: &str| {
        line.strip_prefix("---")
            .and_then(|line| line.trim_matches('-').strip_prefix(word))
            .is_some_and(|rest| rest.trim() == label)
    };
    let mut lines = text.lines().map(str::trim);
    lines.by_ref().find(|line| rule(line, "BEGIN"))?;
    let mut content = String::new();
    for line in lines {
        if rule(line, "END") {
            return (!content.is_empty()).then_some(content);
        }
        content.push_str(line);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creds_file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn verify(key: &KeyPair, nonce: &str, identity: &Identity) {
        let signature = URL_SAFE_NO_PAD.decode(identity.sig.as_ref().unwrap()).unwrap();
        key.verify(nonce.as_bytes(), &signature).unwrap();
    }

    #[test]
    fn a_seed_signs_the_nonce() {
        let key = KeyPair::new_user();
        let identity = identify(&Auth::NKeySeed(key.seed().unwrap()), "abc123").unwrap();
        assert_eq!(identity.nkey, Some(key.public_key()));
        verify(&key, "abc123", &identity);
    }

    #[test]
    fn a_credentials_file_gives_jwt_and_signature() {
        let key = KeyPair::new_user();
        let file = creds_file(&format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq\n.c2ln\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\nkeep it secret\n\n\
             -----BEGIN USER NKEY SEED-----\r\n{}\r\n------END USER NKEY SEED------\r\n",
            key.seed().unwrap()
        ));
        let identity = identify(&Auth::Creds(file.path().into()), "n0nce").unwrap();
        assert_eq!(
            (identity.jwt.as_deref(), identity.nkey.as_ref()),
            (Some("eyJ0.eyJq.c2ln"), None)
        );
        verify(&key, "n0nce", &identity);
    }

    #[test]
    fn what_can_not_be_used_says_why_and_no_secret() {
        let account = KeyPair::new_account().seed().unwrap();
        let user = KeyPair::new_user().seed().unwrap();
        let no_seed = creds_file("-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n");
        let unended = creds_file("-----BEGIN NATS USER JWT-----\nx\n");
        for (auth, nonce, reason) in [
            (Auth::NKeySeed("SUnonsense".into()), "n", "not an nkey seed"),
            (Auth::NKeySeed(account.clone()), "n", "a user's begins with SU"),
            (Auth::NKeySeed(user.clone()), "", "sent no nonce"),
            (
                Auth::Creds("/nowhere/at/all.creds".into()),
                "n",
                "/nowhere/at/all.creds: No such file",
            ),
            (
                Auth::Creds(no_seed.path().into()),
                "n",
                "no block `BEGIN USER NKEY SEED`",
            ),
            (
                Auth::Creds(unended.path().into()),
                "n",
                "no block `BEGIN NATS USER JWT`",
            ),
        ] {
            let error = identify(&auth, nonce).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains(&account) && !error.contains(&user), "{error}");
        }
    }

    #[test]
    fn only_the_fields_that_apply_are_sent() {
        let json = |auth| serde_json::to_string(&identify(&auth, "").unwrap()).unwrap();
        assert_eq!(json(Auth::None), "{}");
        assert_eq!(json(Auth::Token("t".into())), r#"{"auth_token":"t"}"#);
        assert_eq!(
            json(Auth::UserPassword {
                user: "u".into(),
                password: "p".into()
            }),
            r#"{"user":"u","pass":"p"}"#
        );
    }
}
