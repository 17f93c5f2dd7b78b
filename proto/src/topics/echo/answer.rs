//! What an application answers to a subscription of Laravel Echo: what its broadcaster `pusher` says,
//! with a signature, or what those without one say (`true`, or who the member is).

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::app::App;
use crate::channel::Member;
use crate::name::{ChannelName, SocketId};
use crate::pusher::auth;
use crate::refusal::Refusal;

const NOT_READABLE: Refusal = Refusal::Rule(
    "the application's answer is neither true nor an object with `auth` or `channel_data`",
);

#[derive(Deserialize)]
struct Answer<'a> {
    auth: Option<String>,
    #[serde(borrow)]
    channel_data: Option<&'a RawValue>,
}

/// Reads an answer: who the new member of a presence channel is, and nobody in others. A signature
/// that is there has to be right; one that is not there is not needed, because the application was
/// asked itself.
///
/// # Errors
/// That it is a no, or that it is none.
pub(super) fn read(
    body: &[u8],
    app: &App,
    socket: SocketId,
    channel: &ChannelName,
) -> Result<Option<Member>, Refusal> {
    let text = str::from_utf8(body).map_err(|_| NOT_READABLE)?;
    let is_presence = channel.kind().is_presence();
    match serde_json::from_str(text) {
        Ok(Value::Bool(true)) if !is_presence => return Ok(None),
        Ok(Value::Bool(false)) => return Err(Refusal::Unauthorized("the application said no")),
        Ok(Value::Object(_)) => {}
        _ => return Err(NOT_READABLE),
    }
    let Answer { auth: signature, channel_data } =
        serde_json::from_str(text).map_err(|_| NOT_READABLE)?;
    // A text has the data in it, as it was signed; an object is the data.
    let data = channel_data.map(|data| match serde_json::from_str::<String>(data.get()) {
        Ok(text) => text,
        Err(_) => data.get().to_owned(),
    });
    match &signature {
        Some(signature) => {
            auth::check_subscription(app, socket, channel, data.as_deref(), signature)?;
        }
        None if data.is_none() => return Err(NOT_READABLE),
        None => {}
    }
    match (is_presence, data) {
        (true, Some(data)) => auth::member(app, &data).map(Some),
        (true, None) => Err(Refusal::Rule("the application did not say who the member is")),
        (false, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Secret;
    use crate::name::AppId;

    fn check(channel: &str, body: &str) -> Result<Option<String>, Refusal> {
        let app = App::new(AppId::parse("a").unwrap(), "key", Secret::new("secret"));
        let channel = ChannelName::parse(channel).unwrap();
        let socket = SocketId::parse("1.2").unwrap();
        let member = read(body.as_bytes(), &app, socket, &channel)?;
        Ok(member.map(|member| format!("{} {}", member.user, member.info.unwrap_or_default())))
    }

    fn signed(channel: &str, data: Option<&str>) -> String {
        auth::subscription(("key", &Secret::new("secret")), "1.2", channel, data)
    }

    #[test]
    fn each_broadcaster_is_understood() {
        assert_eq!(check("private-x", "true"), Ok(None));
        let auth = signed("private-x", None);
        assert_eq!(check("private-x", &format!(r#"{{"auth":"{auth}"}}"#)), Ok(None));
        let data = r#"{"user_id":7,"user_info":{"name":"Ann"}}"#;
        let ann = Ok(Some(r#"7 {"name":"Ann"}"#.to_owned()));
        assert_eq!(check("presence-x", &format!(r#"{{"channel_data":{data}}}"#)), ann);
        let (auth, text) = (signed("presence-x", Some(data)), Value::from(data));
        let body = format!(r#"{{"auth":"{auth}","channel_data":{text}}}"#);
        assert_eq!(check("presence-x", &body), ann);
    }

    #[test]
    fn a_signature_that_is_there_has_to_be_right() {
        for auth in [signed("private-y", None), "other:00".into(), String::new()] {
            let refused = check("private-x", &format!(r#"{{"auth":"{auth}"}}"#));
            assert!(matches!(refused, Err(Refusal::Unauthorized(_))), "{auth}");
        }
    }

    #[test]
    fn what_is_no_yes_is_a_no() {
        for body in ["", "null", "false", "1", "\"true\"", "[]", "{}", "<html>", r#"{"auth":1}"#] {
            assert!(check("private-x", body).is_err(), "{body}");
        }
        for body in ["true", r#"{"auth":"x"}"#, r#"{"channel_data":{}}"#, r#"{"channel_data":"x"}"#]
        {
            assert!(check("presence-x", body).is_err(), "{body}");
        }
    }
}
