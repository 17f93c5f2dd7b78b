//! A client says which user it is, and whom it watches.

use crate::app::App;
use crate::channel::Role;
use crate::door::{Action, Request};
use crate::name::ChannelName;
use crate::refusal::Refusal;

use super::super::auth::{self, UserData};
use super::super::code::ErrorCode;
use super::super::frame;
use super::Session;

impl Session {
    pub(super) fn sign_in(
        &mut self,
        request: &frame::Signin,
        app: &App,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        auth::check_signin(app, self.socket, &request.user_data, &request.auth)?;
        let user = auth::user_data(app, &request.user_data)?;
        if self.user.as_ref().is_some_and(|present| present.id != user.id) {
            return Err(Refusal::Unauthorized("the connection is signed in as another user"));
        }
        actions.push(Action::Send(frame::signin_success(&request.user_data)));
        if self.user.is_none() {
            let channel = ChannelName::of_user(&user.id);
            actions.push(Action::Ask {
                channel,
                request: Request::Join { role: Role::SignedIn, since: None },
            });
            self.watch(&user, app, actions);
            self.user = Some(Box::new(user));
        }
        Ok(())
    }

    fn watch(&mut self, user: &UserData, app: &App, actions: &mut Vec<Action>) {
        if !app.watchlist {
            return;
        }
        let limit = app.limits.watchlist_users;
        let watched = &user.watchlist[..user.watchlist.len().min(limit)];
        if watched.len() < user.watchlist.len() {
            let what = "users on a watchlist";
            let refusal = Refusal::TooMany { what, limit, setting: "watchlist_users" };
            actions.push(Action::Send(frame::refusal(ErrorCode::WatchlistTooLong, &refusal)));
        }
        self.watch.begin(watched);
        actions.extend(watched.iter().map(|user| Action::Ask {
            channel: ChannelName::of_user(user),
            request: Request::Join { role: Role::Watcher, since: None },
        }));
    }
}
