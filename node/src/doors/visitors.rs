//! Who a request comes from, at the doors that take tokens: the app, and the visitor.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use proto::app::Secret;
use proto::authorization::Shown;
use proto::cursor::CHANNELS_MAX;
use proto::plain::code::PERMISSION_DENIED;
use proto::token::{claimed_app, strip_bearer};
use proto::visitor::Visitor;
use proto::{App, Refusal};

use crate::apps::AppEntry;
use crate::authorization::Denied;
use crate::http::error::HttpError;
use crate::listen::Peer;
use crate::server::Server;

/// The parameters of a URL. A name may stand there more than once.
#[derive(Debug)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Those of a URL.
    #[must_use]
    pub fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// All values of a name, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The names of channels: `?channels=a,b`, and each `?channel=a`.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        let listed = self.all("channels").flat_map(|names| names.split(','));
        listed.chain(self.all("channel"))
    }

    /// The first value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Somebody who makes a request of an app, and was not let in yet.
#[derive(Debug)]
pub struct Guest {
    entry: Arc<AppEntry>,
    token: Option<String>,
    shown: Shown,
}

impl Guest {
    /// Finds the app that a request is for, and whether it may be asked from there.
    ///
    /// # Errors
    /// 403 for a page of another origin, and what is wrong with the app.
    pub fn of<B>(server: &Server, request: &Request<B>) -> Result<Self, HttpError> {
        let headers = request.headers();
        let parameters = Parameters::of(request.uri());
        let entry = app_of(server, token(headers, &parameters)?, &parameters)?;
        let app = &entry.app;
        check_open(app, request)?;
        let shown = shown(app, headers);
        if !app.allows_origin(shown.origin.as_deref()) {
            let message = "pages of this origin may not connect to this app";
            return Err(HttpError::new(StatusCode::FORBIDDEN, "origin", message));
        }
        // The application may have its own use for that header.
        let asked = app.authorization.as_ref();
        let is_its = asked.is_some_and(|it| it.backend.takes(AUTHORIZATION.as_str()));
        let token = match is_its {
            true => parameters.get("token").map(strip_bearer),
            false => token(headers, &parameters)?,
        };
        let token = token.map(str::to_owned);
        Ok(Self { entry, token, shown })
    }

    /// The app.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.entry.app
    }

    /// Finds out who it is: by the token, or as the app says, which hears of the door and of the
    /// channels that are named there. Without either it is anyone.
    ///
    /// # Errors
    /// 401 for a token that is not in order; 403 if the app says no, and 503 if it says nothing.
    pub async fn let_in(
        self,
        door: &str,
        channels: &[&str],
    ) -> Result<(Arc<AppEntry>, Visitor), HttpError> {
        let Self { entry, token, shown } = self;
        let Some(token) = token else {
            let visitor = entry.authorize(&shown, door, channels).await.map_err(|denied| {
                entry.metrics.auth_failed("authorization");
                match denied {
                    Denied::Forbidden(_) => {
                        HttpError::of_visitor(Refusal::Unauthorized(PERMISSION_DENIED))
                    }
                    Denied::Unavailable => HttpError::unavailable(denied.to_string()),
                }
            })?;
            return Ok((entry, visitor));
        };
        let verified = entry.verify_token(&token).await.map_err(|error| {
            entry.metrics.auth_failed("token");
            HttpError::unauthorized(format!("Authentication failed: {error}"))
        })?;
        Ok((entry, Visitor::with(verified)))
    }

    /// As [`Guest::let_in`], where everyone has to be somebody.
    ///
    /// # Errors
    /// As [`Guest::let_in`], and 401 for anyone.
    pub async fn let_user_in(
        self,
        door: &str,
        channels: &[&str],
    ) -> Result<(Arc<AppEntry>, Visitor), HttpError> {
        let (entry, visitor) = self.let_in(door, channels).await?;
        match visitor.user() {
            Some(_) => Ok((entry, visitor)),
            None => Err(HttpError::unauthorized(
                "Authentication failed: a token is missing (`Authorization: Bearer …` or `?token=`)",
            )),
        }
    }
}

/// Checks that an app takes requests at all, and such as this one.
///
/// # Errors
/// 403.
pub fn check_open<B>(app: &App, request: &Request<B>) -> Result<(), HttpError> {
    let is_tls = request.extensions().get::<Peer>().is_some_and(|peer| peer.is_tls);
    if !app.enabled {
        return Err(Refusal::Disabled { feature: "this app", setting: "enabled" }.into());
    }
    if app.tls_only && !is_tls {
        let message = "this app only takes TLS connections";
        return Err(HttpError::new(StatusCode::FORBIDDEN, "tls_only", message));
    }
    Ok(())
}

/// How many channels one request may be about.
#[must_use]
pub fn channels_max(app: &App) -> usize {
    app.limits.channels_per_connection.min(CHANNELS_MAX)
}

/// Checks that a request is about no more channels than it may be.
///
/// # Errors
/// 400, with the limit that is broken.
pub fn check_channels(app: &App, count: usize) -> Result<(), HttpError> {
    app.check_channels(count)?;
    match count {
        0..=CHANNELS_MAX => Ok(()),
        _ => {
            let message = format!("a request is about {CHANNELS_MAX} channels at most");
            Err(HttpError::bad_request(message))
        }
    }
}

/// What a request shows of who makes it, to an app that wants to be asked.
#[must_use]
pub fn shown(app: &App, headers: &HeaderMap) -> Shown {
    let names: BTreeSet<&String> = app.backends().flat_map(|backend| &backend.headers).collect();
    let values = |name: &String| {
        let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        texts.map(|text| (name.clone(), Secret::new(text))).collect::<Vec<_>>()
    };
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null").to_owned());
    Shown { headers: names.into_iter().flat_map(values).collect(), origin }
}

/// The app whose pages a request's answer may be shown to, before anything of it is believed.
#[must_use]
pub fn claimed<B>(server: &Server, request: &Request<B>) -> Option<Arc<AppEntry>> {
    let parameters = Parameters::of(request.uri());
    let token = token(request.headers(), &parameters).ok()?;
    app_of(server, token, &parameters).ok()
}

fn token<'a>(
    headers: &'a HeaderMap,
    parameters: &'a Parameters,
) -> Result<Option<&'a str>, HttpError> {
    let header = headers.get(AUTHORIZATION).map(|header| header.to_str()).transpose();
    let header = header.map_err(|_| HttpError::unauthorized("the token is not plain text"))?;
    Ok(header.or_else(|| parameters.get("token")).map(strip_bearer))
}

/// The app that the token is for, else the one whose key stands in the URL, else the only one.
fn app_of(
    server: &Server,
    token: Option<&str>,
    parameters: &Parameters,
) -> Result<Arc<AppEntry>, HttpError> {
    let claimed = token.and_then(claimed_app);
    if let Some(key) = claimed.as_deref().or_else(|| parameters.get("app")) {
        let entry = server.apps.by_key(key);
        return entry.ok_or_else(|| HttpError::unauthorized("no app has this key"));
    }
    match server.apps.all().as_slice() {
        [only] => Ok(Arc::clone(only)),
        _ => Err(HttpError::bad_request(
            "there are several apps: say which with `?app=` and its key, or with `app` in the token",
        )),
    }
}
