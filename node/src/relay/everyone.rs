//! What is asked of all shards at once.

use std::sync::Arc;

use proto::{AppId, ChannelKey};
use tokio::sync::oneshot;

use super::{Relay, ToShard, Transports};

impl Relay {
    /// How many subscribers of a channel are here, by their door.
    pub async fn transports(&self, key: &ChannelKey) -> Transports {
        let mut all = Transports::default();
        let touched = self.index.shards(key);
        for shard in (0..self.shards.len()).filter(|shard| touched & (1 << shard) != 0) {
            let (reply, answer) = oneshot::channel();
            self.tell(shard, ToShard::Transports { key: key.clone(), reply }).await;
            let counts = answer.await.unwrap_or_default();
            all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
        }
        all
    }

    /// Ends the sockets of an app that their clients know by this id. False if none is here.
    pub async fn terminate(&self, app: &AppId, id: &str) -> bool {
        let (id, mut is_here): (Arc<str>, bool) = (id.into(), false);
        for shard in 0..self.shards.len() {
            let (reply, answer) = oneshot::channel();
            let (app, connection) = (app.clone(), Arc::clone(&id));
            self.tell(shard, ToShard::Terminate { app, connection, reply }).await;
            is_here |= answer.await == Ok(true);
        }
        is_here
    }

    /// Tells all connections of an app a notification, and returns how many they are.
    pub async fn notify(&self, app: &AppId, text: &Arc<str>) -> u64 {
        let mut told = 0;
        for shard in 0..self.shards.len() {
            let (reply, answer) = oneshot::channel();
            let (app, text) = (app.clone(), Arc::clone(text));
            self.tell(shard, ToShard::Notify { app, text, reply }).await;
            told += answer.await.unwrap_or_default();
        }
        told
    }
}
