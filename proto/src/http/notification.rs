//! `POST /notifications`: what an application tells a user, a channel or everyone, in a form that the
//! doors have a word for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::event::{Data, Event};
use crate::json::quoted;
use crate::name::{ChannelName, EventName, UserId};
use crate::refusal::Refusal;

use super::request::parse;

/// The name of the event, at every door.
const EVENT: &str = "notification";

/// The last time that is written with as many digits as the present one: in the year 2286.
const LAST_MS: u64 = 9_999_999_999_999;

/// How much a notification matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Good to know.
    #[default]
    Info,
    /// Something may go wrong.
    Warning,
    /// Something went wrong.
    Error,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The subscribers of a channel. That of a user ([`ChannelName::of_user`]) stands for all of the
    /// user's connections.
    Channel(ChannelName),
    /// Every connection of the app.
    Everyone,
}

/// A notification that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Who is told.
    pub target: Target,
    level: Level,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default)]
    level: Level,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    #[serde(default)]
    everyone: bool,
}

impl Notification {
    /// Reads the body of the request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &[u8], app: &App) -> Result<Self, Refusal> {
        let Body { message, level, user, channel, everyone } = parse(body)?;
        let target = match (user, channel, everyone) {
            (Some(user), None, false) => {
                Target::Channel(ChannelName::of_user(&UserId::parse(&user)?))
            }
            (None, Some(channel), false) => Target::Channel(app.channel(&channel)?),
            (None, None, true) => Target::Everyone,
            _ => {
                return Err(Refusal::Rule(
                    "one of `user`, `channel` and `everyone: true` is needed",
                ));
            }
        };
        if matches!(&target, Target::Channel(channel) if channel.kind().encrypted) {
            return Err(Refusal::Rule("the server cannot encrypt a notification for its channel"));
        }
        let notification = Self { target, level, message: message.into_owned() };
        app.check_event_data(notification.text(0, LAST_MS).len())?;
        Ok(notification)
    }

    /// What is sent: a JSON object with `id`, `type`, `level`, `message` and `timestamp`, the time in
    /// milliseconds since 1970.
    #[must_use]
    pub fn text(&self, id: u128, unix_ms: u64) -> String {
        let (level, message) = (self.level.word(), quoted(&self.message));
        format!(
            r#"{{"id":"{id:032x}","type":"{EVENT}","level":"{level}","message":{message},"timestamp":{unix_ms}}}"#
        )
    }
}

/// The event of a notification, for the subscribers of a channel.
///
/// # Panics
/// Never: its name is one.
#[must_use]
pub fn event(text: &str) -> Event {
    let name = EventName::parse(EVENT).expect("it has 12 bytes");
    Event { name, data: Data::Text(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Secret;
    use crate::name::AppId;

    fn app() -> App {
        App::new(AppId::parse("app").unwrap(), "key", Secret::new("secret"))
    }

    fn read(body: &str) -> Result<Notification, String> {
        let app = app();
        Notification::parse(body.as_bytes(), &app).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_notification_is_for_a_user_a_channel_or_everyone() {
        let channel = |name| Target::Channel(ChannelName::parse(name).unwrap());
        let target = |body| read(body).unwrap().target;
        assert_eq!(target(r#"{"message":"m","user":"7"}"#), channel("#server-to-user-7"));
        assert_eq!(target(r#"{"message":"m","channel":"user:7"}"#), channel("user:7"));
        assert_eq!(target(r#"{"message":"m","everyone":true}"#), Target::Everyone);
        for body in [
            r#"{"message":"m"}"#,
            r#"{"message":"m","everyone":false}"#,
            r#"{"message":"m","user":"7","everyone":true}"#,
            r#"{"message":"m","channel":"a b"}"#,
            r#"{"message":"m","channel":"private-encrypted-a"}"#,
            r#"{"message":"m","user":"7","level":"fatal"}"#,
            r#"{"message":"m","user":"7","levle":"info"}"#,
            r#"{"user":"7"}"#,
        ] {
            read(body).expect_err(body);
        }
    }

    #[test]
    fn as_it_is_sent_it_is_no_larger_than_an_event_may_be() {
        let limit = app().limits.event_bytes;
        let body = |message: &str| format!(r#"{{"message":"{message}","user":"7"}}"#);
        let around = read(&body("")).unwrap().text(1, 1_800_000_000_000).len();
        for (character, bytes) in [("x", 1), ("ü", 2), (r"\n", 2), (r"\u0001", 6)] {
            let longest = character.repeat((limit - around) / bytes);
            let text = read(&body(&longest)).unwrap().text(1, 1_800_000_000_000);
            assert!(text.len() <= limit, "{character}");
            read(&body(&format!("{longest}{character}"))).expect_err(character);
        }
    }

    #[test]
    fn its_text_has_five_fields() {
        let notification = read(r#"{"message":"\"hi\"\n","level":"warning","user":"7"}"#).unwrap();
        assert_eq!(
            notification.text(255, 17),
            r#"{"id":"000000000000000000000000000000ff","type":"notification","level":"warning","message":"\"hi\"\n","timestamp":17}"#
        );
    }
}
