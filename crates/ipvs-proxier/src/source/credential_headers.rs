//! The headers of a request that say who asks.

use std::error::Error;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use kube::config::AuthInfo;
use secrecy::ExposeSecret as _;

use super::access::with_causes;

/// Who a kubeconfig says that the client is, without what a plugin gives, and whom it impersonates.
pub(super) fn headers_of(user: &AuthInfo) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let own = match (&user.token, &user.username, &user.password) {
        (Some(token), ..) => Some(bearer(token.expose_secret().trim())?),
        (None, Some(name), Some(password)) => {
            let pair = format!("{name}:{}", password.expose_secret());
            Some(secret(&format!("Basic {}", BASE64_STANDARD.encode(pair)))?)
        }
        _ => None,
    };
    headers.extend(own.map(|value| (AUTHORIZATION, value)));
    let mut add = |name: &str, value: &str| {
        let wrong = |error: &dyn Error| format!("{name}: {value}: {}", with_causes(error));
        let header = HeaderName::try_from(name).map_err(|error| wrong(&error))?;
        let value = HeaderValue::try_from(value).map_err(|error| wrong(&error))?;
        headers.append(header, value);
        Ok::<(), String>(())
    };
    if let Some(name) = &user.impersonate {
        add("Impersonate-User", name)?;
    }
    if let Some(uid) = &user.impersonate_uid {
        add("Impersonate-Uid", uid)?;
    }
    for group in user.impersonate_groups.iter().flatten() {
        add("Impersonate-Group", group)?;
    }
    for (key, values) in user.impersonate_user_extra.iter().flatten() {
        for value in values {
            add(&format!("Impersonate-Extra-{key}"), value)?;
        }
    }
    Ok(headers)
}

/// What a token is sent as.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, String> {
    if token.is_empty() {
        return Err("an empty token".to_owned());
    }
    secret(&format!("Bearer {token}"))
}

/// Nothing of it is told.
fn secret(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_secret| "a token has no line ends and no control characters in it".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
