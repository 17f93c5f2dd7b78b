//! Who stands at a door that takes tokens: a user with permissions, or anyone who knows the app's key.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::channel::{Member, Role};
use crate::name::{Access, ChannelName, UserId};
use crate::permission::Permissions;
use crate::plain::code::PERMISSION_DENIED;
use crate::refusal::Refusal;
use crate::time::{Moment, Now};
use crate::token::Token;

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    token: Option<Token>,
}

impl Visitor {
    /// Anyone: may read what is public.
    #[must_use]
    pub const fn anyone() -> Self {
        Self { token: None }
    }

    /// Who showed a valid token.
    #[must_use]
    pub const fn with(token: Token) -> Self {
        Self { token: Some(token) }
    }

    /// The user, if a token said who it is.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.token.as_ref().map(|token| &token.user)
    }

    fn permissions(&self) -> Option<&Permissions> {
        self.token.as_ref().map(|token| &token.permissions)
    }

    /// When the token expires, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn expires_unix_ms(&self) -> Option<u64> {
        self.token.as_ref().map(|token| token.expires_unix_ms)
    }

    /// When the token expires. Later jumps of the wall clock do not change it.
    #[must_use]
    pub fn expires_at(&self, now: Now) -> Option<Moment> {
        let left = self.expires_unix_ms()?.saturating_sub(now.unix_ms);
        Some(now.moment + Duration::from_millis(left))
    }

    /// Reads the name of a channel and finds out as what the visitor is there.
    ///
    /// # Errors
    /// The rule of the name, or [`PERMISSION_DENIED`].
    pub fn subscribe(&self, app: &App, name: &str) -> Result<(ChannelName, Role), Refusal> {
        let channel = app.channel(name)?;
        let may_read = match self.permissions() {
            Some(permissions) => permissions.may_read(&channel),
            None => !channel.kind().is_guarded() && !channel.kind().reserved,
        };
        if !may_read {
            return Err(Refusal::Unauthorized(PERMISSION_DENIED));
        }
        let role = Role::Subscriber(self.member(&channel));
        Ok((channel, role))
    }

    /// Reads the name of a channel on which the visitor wants to publish.
    ///
    /// # Errors
    /// The rule of the name, or [`PERMISSION_DENIED`].
    pub fn publish(&self, app: &App, name: &str) -> Result<ChannelName, Refusal> {
        let channel = app.channel(name)?;
        let may_publish = self.permissions().is_some_and(|p| p.may_publish(&channel));
        match may_publish {
            true => Ok(channel),
            false => Err(Refusal::Unauthorized(PERMISSION_DENIED)),
        }
    }

    /// Who the visitor is in a presence channel.
    fn member(&self, channel: &ChannelName) -> Option<Arc<Member>> {
        let is_presence = channel.kind().access == Access::Presence;
        let user = self.user().filter(|_| is_presence)?.clone();
        Some(Arc::new(Member::new(user, None)))
    }
}
