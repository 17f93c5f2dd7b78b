//! `handbell token`.

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use proto::App;
use proto::token::{Grant, issue, verify};

use crate::clock::unix_ms;
use crate::config::{Config, Period};

use super::ConfigArguments;

#[derive(Debug, Args)]
pub(super) struct Token {
    /// Who the token is for: the user's id.
    #[arg(long)]
    sub: String,
    /// A role of the app: admin, user or guest, if the configuration says nothing else.
    #[arg(long)]
    role: Option<String>,
    /// A pattern of channels, such as `orders-*` or `news:ro`, beside those of the role. May be
    /// repeated.
    #[arg(long = "permission", value_name = "PATTERN")]
    permissions: Vec<String>,
    /// How long the token counts: `90s`, `15m`, `1h`.
    #[arg(long, value_name = "PERIOD", default_value = "1h")]
    expires: Period,
    /// The app's key or id. Not needed if there is one app only; without a configuration it is the
    /// app of `handbell dev`.
    #[arg(long)]
    app: Option<String>,
    #[command(flatten)]
    source: ConfigArguments,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let app = choose(self.source.clone().apps()?, self.app.as_deref())?;
        ensure!(
            app.takes_tokens_by_secret(),
            "app `{}` takes tokens by its `[[apps.jwt_keys]]`, not by its secret: sign one where you \
             sign those of your clients",
            app.id
        );
        let secret = app.secrets.first().context("the app has no secret")?;
        let expires_ms = u128::from(unix_ms()) + self.expires.0.as_millis();
        let grant = Grant {
            sub: &self.sub,
            exp: u64::try_from(expires_ms.div_ceil(1000))?,
            app: Some(&app.key),
            role: self.role.as_deref(),
            permissions: &self.permissions,
        };
        let token = issue(secret, &grant);
        // What a door would say about it is better said now.
        verify(&token, &app, &[], unix_ms())?;
        println!("{token}");
        Ok(())
    }
}

impl ConfigArguments {
    /// The apps of the configuration, or that of `handbell dev` if there is none.
    fn apps(self) -> anyhow::Result<Vec<App>> {
        let source = self.into_source();
        let config = source.load()?;
        let is_none = source.path.is_none() && config.apps.is_empty();
        Ok(if is_none { Config::dev(6001, 9601).check()? } else { config.check()? })
    }
}

fn choose(apps: Vec<App>, wanted: Option<&str>) -> anyhow::Result<App> {
    let is_wanted =
        |app: &App| wanted.is_none_or(|name| app.key == name || app.id.as_str() == name);
    let keys: Vec<&str> = apps.iter().map(|app| app.key.as_str()).collect();
    let keys = keys.join(", ");
    let mut found = apps.into_iter().filter(is_wanted);
    match (found.next(), found.next()) {
        (Some(app), None) => Ok(app),
        (None, _) => bail!("there is no such app; the keys of the apps are {keys}"),
        (Some(_), Some(_)) => bail!("there are several apps: say which with --app (keys: {keys})"),
    }
}
