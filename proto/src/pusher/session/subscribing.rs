//! A client asks to be in a channel: whether it may, and as whom.

use std::sync::Arc;

use crate::app::App;
use crate::channel::{Member, Role};
use crate::door::{Action, Request};
use crate::name::{Access, ChannelName};
use crate::refusal::Refusal;

use super::super::auth;
use super::super::frame;
use super::super::resumption::PRESENCE_GRACE;
use super::Session;

impl Session {
    pub(super) fn subscribe(
        &mut self,
        request: &frame::Subscribe,
        app: &App,
    ) -> Result<Action, Refusal> {
        let channel = app.channel(&request.channel)?;
        if !self.channels.contains(&channel) {
            app.check_channels(self.channels.len() + 1)?;
        }
        let member = self.authorize(&channel, request, app)?;
        let is_new = self.channels.insert(channel.clone());
        let role = Role::Subscriber(member.map(Arc::new));
        let (role, since) = match &self.resumption {
            Some(resumption) if resumption.is_resumable() => {
                let since = resumption.since(&channel).filter(|_| is_new);
                (role.with_grace(PRESENCE_GRACE), since)
            }
            _ => (role, None),
        };
        Ok(Action::Ask { channel, request: Request::Join { role, since } })
    }

    /// Checks that the subscription is allowed, and finds out who the new member is.
    fn authorize(
        &self,
        channel: &ChannelName,
        request: &frame::Subscribe,
        app: &App,
    ) -> Result<Option<Member>, Refusal> {
        let kind = channel.kind();
        if kind.reserved {
            let own = self.user.as_ref().map(|user| ChannelName::of_user(&user.id));
            if own.as_ref() != Some(channel) {
                return Err(Refusal::Unauthorized("this channel is for its signed-in user only"));
            }
            return Ok(None);
        }
        if !kind.is_guarded() {
            return Ok(None);
        }
        let auth = request.auth.as_deref().unwrap_or_default();
        let data = request.channel_data.as_deref();
        auth::check_subscription(app, self.socket, channel, data, auth)?;
        match (kind.access, data, &self.user) {
            (Access::Public | Access::Private, ..) => Ok(None),
            (Access::Presence, Some(data), _) => auth::member(app, data).map(Some),
            (Access::Presence, None, Some(user)) => {
                let info = user.info.clone();
                Ok(Some(Member::new(user.id.clone(), info)))
            }
            (Access::Presence, None, None) => Err(Refusal::Unauthorized(
                "a presence channel needs channel_data with a user_id, or a signed-in user",
            )),
        }
    }
}
