//! What every node of the view is asked. Where all have to be heard, an answer that lacks a node is none:
//! a part is never given out as the whole.

use std::sync::Arc;

use proto::cluster::message::{Answer, Ask, ListQuery, Listed};
use proto::cluster::slot::SLOTS;
use proto::{AppId, ChannelKey};
use tokio::time::{Instant, sleep, timeout_at};

use crate::channels::{Channels, Replier, Request};
use crate::relay::Transports;

use super::{DEADLINE, RETRY_AFTER, RouteError, Router};

impl Router {
    /// All occupied channels of an app, from every node that owns some.
    ///
    /// # Errors
    /// [`RouteError::Unavailable`] unless every slot has been heard of exactly once: a part is never
    /// given out as the whole.
    pub async fn list(&self, query: ListQuery) -> Result<Vec<Listed>, RouteError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.list_once(&query, deadline).await {
                Some(list) => return Ok(list),
                None if Instant::now() + RETRY_AFTER >= deadline => {
                    return Err(RouteError::Unavailable);
                }
                None => sleep(RETRY_AFTER).await,
            }
        }
    }

    async fn list_once(&self, query: &ListQuery, deadline: Instant) -> Option<Vec<Listed>> {
        let ask = Ask::List(query.clone());
        let (mut all, mut slots) = (Vec::new(), 0);
        for answer in self.ask_all(&query.app, &ask, deadline).await.ok()? {
            let Some(Answer::Listed(listed, served)) = answer else {
                return None;
            };
            all.extend(listed);
            slots += u32::from(served);
        }
        (slots == u32::from(SLOTS)).then_some(all)
    }

    /// Tells all connections of an app a notification, and returns how many they are.
    ///
    /// # Errors
    /// [`RouteError::Unavailable`] unless every node has answered. Those that could be reached have
    /// told theirs.
    pub async fn notify(&self, app: &AppId, text: Arc<str>) -> Result<u64, RouteError> {
        let (ask, deadline) = (Ask::Notify(app.clone(), text), Instant::now() + DEADLINE);
        let answers = self.ask_all(app, &ask, deadline).await?;
        let told = answers.iter().map(|answer| match answer {
            Some(Answer::Notified(told)) => Some(told),
            _ => None,
        });
        told.sum::<Option<u64>>().ok_or(RouteError::Unavailable)
    }

    /// Ends a connection of an app by an id that its client knows. False if no node has it.
    ///
    /// # Errors
    /// [`RouteError::Unavailable`] if a node has not answered, and none of the others has it.
    pub async fn terminate(&self, app: &AppId, connection: String) -> Result<bool, RouteError> {
        let (ask, deadline) = (Ask::Terminate(app.clone(), connection), Instant::now() + DEADLINE);
        let answers = self.ask_all(app, &ask, deadline).await?;
        let has_said = |is_ended| move |answer: &_| *answer == Some(Answer::Terminated(is_ended));
        match answers.iter().any(has_said(true)) {
            true => Ok(true),
            false if answers.iter().all(has_said(false)) => Ok(false),
            false => Err(RouteError::Unavailable),
        }
    }

    /// How many subscribers a channel has over all nodes, by their door.
    ///
    /// # Errors
    /// [`RouteError::Unavailable`] unless every node has answered.
    pub async fn transports(&self, key: ChannelKey) -> Result<Transports, RouteError> {
        let (app, deadline) = (key.app.clone(), Instant::now() + DEADLINE);
        let mut all = Transports::default();
        for answer in self.ask_all(&app, &Ask::Transports(key), deadline).await? {
            let Some(Answer::Transports(counts)) = answer else {
                return Err(RouteError::Unavailable);
            };
            all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
        }
        Ok(all)
    }

    /// Asks every node of the view. Of each there is an answer, or none that came in time.
    ///
    /// # Errors
    /// [`RouteError::Unavailable`] before there is a view.
    async fn ask_all(
        &self,
        app: &AppId,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Vec<Option<Answer>>, RouteError> {
        let view = self.view().ok_or(RouteError::Unavailable)?;
        let asked = view.members().iter().map(|member| {
            let (replier, answer) = Replier::local();
            let (slot, ask) = (Channels::quota_slot(app), ask.clone());
            if member.id == self.0.me {
                self.0.channels.handle(Request { slot, ask, replier });
            } else {
                self.0.peers.ask(&member.id, ask, replier);
            }
            answer
        });
        let mut answers = Vec::new();
        // All are on their way before the first is waited for.
        for answer in asked.collect::<Vec<_>>() {
            answers.push(timeout_at(deadline, answer).await.ok().and_then(Result::ok));
        }
        Ok(answers)
    }
}
