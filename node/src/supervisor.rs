//! The root of the supervision tree: it starts the node's few long-lived actors, restarts one that
//! failed, and gives the node up when one fails too often. ractor has no strategies of its own.

use std::fmt;
use std::pin::Pin;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

/// Restarts of one actor within [`WINDOW`] before the node gives up.
const RESTARTS_MAX: usize = 5;
/// The time over which restarts are counted.
const WINDOW: Duration = Duration::from_secs(10);

type Started = Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>;

/// A long-lived actor of the node: how it is called and how it is started.
pub struct Child {
    name: &'static str,
    start: Box<dyn Fn(ActorCell) -> Started + Send + Sync>,
}

impl Child {
    /// An actor that `start` starts, linked to the cell that it is given.
    pub fn new<F, S>(name: &'static str, start: F) -> Self
    where
        F: Fn(ActorCell) -> S + Send + Sync + 'static,
        S: Future<Output = Result<ActorCell, SpawnErr>> + Send + 'static,
    {
        Self { name, start: Box::new(move |supervisor| Box::pin(start(supervisor))) }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The supervisor.
#[derive(Debug)]
pub struct Supervisor;

/// The supervisor is told nothing; it hears of its children's ends.
#[derive(Debug)]
pub enum Message {}

impl ractor::Message for Message {}

/// The children and when they were restarted.
#[derive(Debug)]
pub struct State {
    children: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    actor: ActorId,
    restarts: Vec<Instant>,
}

impl Actor for Supervisor {
    type Msg = Message;
    type State = State;
    type Arguments = Vec<Child>;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        children: Vec<Child>,
    ) -> Result<State, ActorProcessingErr> {
        let mut running = Vec::with_capacity(children.len());
        for child in children {
            let actor = (child.start)(myself.get_cell()).await?.get_id();
            running.push(Running { child, actor, restarts: Vec::new() });
        }
        Ok(State { children: running })
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Message>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (actor, error) = match event {
            SupervisionEvent::ActorFailed(cell, error) => (cell.get_id(), error.to_string()),
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell.get_id(), reason.unwrap_or_else(|| "it stopped".into()))
            }
            _ => return Ok(()),
        };
        let Some(ended) = state.children.iter_mut().find(|child| child.actor == actor) else {
            return Err(format!("an actor that cannot be restarted failed: {error}").into());
        };
        tracing::error!(actor = ended.child.name, %error, "an actor of the node failed");
        ended.restarts.retain(|at| at.elapsed() < WINDOW);
        if ended.restarts.len() >= RESTARTS_MAX {
            return Err(format!("{} failed too often", ended.child.name).into());
        }
        ended.restarts.push(Instant::now());
        ended.actor = (ended.child.start)(myself.get_cell()).await?.get_id();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::timeout;

    struct Fragile(Arc<AtomicUsize>);

    impl Actor for Fragile {
        type Msg = Message;
        type State = ();
        type Arguments = ();

        async fn pre_start(
            &self,
            myself: ActorRef<Message>,
            (): (),
        ) -> Result<(), ActorProcessingErr> {
            self.0.fetch_add(1, Ordering::SeqCst);
            myself.stop(Some("it is fragile".into()));
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_actor_that_fails_too_often_ends_the_node() {
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&starts);
        let child = Child::new("fragile", move |supervisor| {
            let fragile = Fragile(Arc::clone(&counted));
            async move {
                let (actor, _) = Actor::spawn_linked(None, fragile, (), supervisor).await?;
                Ok(actor.get_cell())
            }
        });
        let (_, ended) = Actor::spawn(None, Supervisor, vec![child]).await.unwrap();
        timeout(Duration::from_secs(5), ended).await.expect("the supervisor gives up").unwrap();
        assert_eq!(starts.load(Ordering::SeqCst), 1 + RESTARTS_MAX);
    }
}
