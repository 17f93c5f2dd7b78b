//! The director: starts the nodes and the load, listens to everyone, and asks the nodes. It alone owns
//! the judge and the processes; everything else are threads that report to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Deserialize;

use super::backend::{self, Backend, Manner};
use super::call::{Caller, get};
use super::cluster::{Cluster, Settings};
use super::judge::Judge;
use super::judge::presence::{Difference, Users};
use super::observation::{Channel, Link, Look, Member, Node, Observation};
use super::plan::{self, Plan, STREAMS_MAX, Size, admin};
use super::stage::Stage;
use super::{sink, tab, watch};

/// Observations that may wait for the director.
const WAITING_MAX: usize = 1 << 16;
/// Stack of a thread of the load.
const STACK_BYTES: usize = 512 * 1024;
/// How long an answer about a channel is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Of so many back ends, one uses no keys and one names no level, as stock SDKs do.
const MANNERS: u32 = 4;

/// How much is published, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Events a second.
    pub rate: u32,
    /// Events of one request.
    pub batch: u32,
    /// Whether no back end uses keys.
    pub is_unkeyed: bool,
}

/// The director.
pub(super) struct Director {
    /// What everyone shares.
    pub stage: Arc<Stage>,
    /// The nodes.
    pub cluster: Cluster,
    /// What is known.
    pub judge: Judge,
    /// All that the nodes said since the schedule began.
    pub history: Vec<(Node, Duration, Look)>,
    /// What they said last.
    pub looks: Vec<Look>,
    /// Whether nodes that cannot reach the majority must refuse.
    pub is_majority: bool,
    /// Subscriptions of the clients that stay.
    subscriptions: usize,
    seen: Receiver<Observation>,
}

impl Director {
    /// Starts the nodes and the clients. One node more than `size` says can join later.
    pub(super) fn start(
        folder: &Path,
        settings: Settings,
        mut size: Size,
        load: Load,
    ) -> anyhow::Result<Self> {
        let backends = size.publishers;
        // The last publisher's streams are the director's own.
        size.publishers += 1;
        let streams = size.channels * size.publishers;
        ensure!(streams <= STREAMS_MAX, "channels x (publishers + 1) may be {STREAMS_MAX} at most");
        let room = size.nodes + 1;
        let is_majority = settings.majority_of.is_some();
        let ack = settings.is_cluster.then_some("replicated");
        let stage = Arc::new(Stage::new(Plan::new(size), room, ack));
        let mut cluster = Cluster::new(folder, settings, room)?;
        let (out, seen) = sync_channel(WAITING_MAX);
        sink::spawn(sink::ADDRESS, out.clone())?;
        for node in 0..size.nodes {
            cluster.start(node)?;
        }
        for node in 0..room {
            spawn(&stage, &out, move |stage, out| watch::run(node, stage, out))?;
        }
        let tabs = stage.plan.tabs();
        let stay = tabs.iter().filter(|tab| !tab.is_churner);
        let subscriptions = stay.map(|tab| tab.channels.len()).sum();
        for tab in tabs {
            spawn(&stage, &out, move |stage, out| tab::run(&tab, stage, out))?;
        }
        let every = Duration::from_secs(1) * backends * load.batch / load.rate.max(1);
        for number in 0..backends {
            let rest = number % MANNERS;
            let is_keyed = rest != MANNERS - 1 && !load.is_unkeyed;
            let manner = Manner { is_keyed, is_named: rest != MANNERS - 2 };
            let backend = Backend { number, every, batch: load.batch, manner };
            spawn(&stage, &out, move |stage, out| backend::run(backend, stage, out))?;
        }
        let judge = Judge::new(size.publishers);
        let looks = vec![Look::default(); room];
        let history = Vec::new();
        Ok(Self { stage, cluster, judge, history, looks, is_majority, subscriptions, seen })
    }

    /// Lets time pass, and listens.
    pub(super) fn pump(&mut self, time: Duration) {
        self.until(time, |_| false);
    }

    /// Listens until something is true, as long as that. False if it did not become true.
    pub(super) fn until(
        &mut self,
        patience: Duration,
        mut is_true: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        const STEP: Duration = Duration::from_millis(10);
        let end = Instant::now() + patience;
        loop {
            let step = Instant::now() + STEP;
            while let Some(left) = step.min(end).checked_duration_since(Instant::now())
                && let Ok(observation) = self.seen.recv_timeout(left)
            {
                self.take(observation);
            }
            if is_true(self) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
        }
    }

    fn take(&mut self, observation: Observation) {
        if let Observation::Looked(node, at, look) = &observation {
            self.looks[*node] = look.clone();
            self.history.push((*node, *at, look.clone()));
        }
        self.judge.take(observation);
    }

    /// Whether all nodes that run are ready and agree on who they are.
    pub(super) fn is_agreed(&self) -> bool {
        let running = self.cluster.running();
        let is_ready = running.iter().all(|&node| self.looks[node].is_ready == Some(true));
        if self.stage.ack.is_none() || !is_ready {
            return is_ready;
        }
        let ids: BTreeSet<String> = running.iter().map(|&node| plan::id(node)).collect();
        let views = running.iter().map(|&node| self.looks[node].status.as_deref());
        let sees_all = |members: &[Member]| members.iter().map(|m| m.id.clone()).eq(ids.clone());
        let hashes: Option<BTreeSet<String>> = views
            .map(|status| {
                let view = &status?.view;
                let mut members = view.members.clone();
                members.sort_by(|one, other| one.id.cmp(&other.id));
                sees_all(&members).then(|| view.hash.to_string())
            })
            .collect();
        hashes.is_some_and(|hashes| hashes.len() == 1)
    }

    /// Waits until the nodes agree and every client is at home and subscribed.
    pub(super) fn settle(&mut self, patience: Duration) -> Result<(), String> {
        if !self.until(patience, |director| director.is_agreed()) {
            return Err(format!("the nodes do not agree after {patience:.0?}: {:?}", self.looks));
        }
        let is_settled = |director: &mut Self| {
            // Again and again: one may have connected elsewhere just before its home was ready.
            if !director.is_at_home() {
                director.stage.go_home();
            }
            director.is_at_home() && director.is_subscribed()
        };
        if !self.until(patience, is_settled) {
            let (is, all) = (self.subscribed(), self.subscriptions);
            return Err(format!("{is} of {all} subscriptions after {patience:.0?}"));
        }
        Ok(())
    }

    fn subscribed(&self) -> usize {
        let tabs = self.stage.plan.size.tabs as u64;
        self.judge.deliveries.subscriptions(|connection| connection >> 32 < tabs)
    }

    fn is_at_home(&self) -> bool {
        let nodes = self.stage.plan.size.nodes as u64;
        self.judge.open().all(|(connection, node)| (connection >> 32) % nodes == node as u64)
    }

    /// Whether every client that stays has all its subscriptions.
    pub(super) fn is_subscribed(&self) -> bool {
        self.subscribed() == self.subscriptions
    }

    /// Lets everyone publish, come and go, or not.
    pub(super) fn set_load(&self, is_on: bool) {
        self.stage.is_publishing.store(is_on, SeqCst);
        self.stage.is_churning.store(is_on, SeqCst);
    }

    /// When someone else than `silent` first said that the cluster or a link to one of `involved` was
    /// not as it had been.
    pub(super) fn noticed(
        &self,
        (involved, silent): (&[Node], &[Node]),
        since: Duration,
    ) -> Option<Duration> {
        let ids: Vec<String> = involved.iter().map(|&node| plan::id(node)).collect();
        let is_down = |link: &Link| link.state != "up" && ids.contains(&link.peer);
        let mut before: BTreeMap<Node, String> = BTreeMap::new();
        for (node, at, look) in &self.history {
            let Some(status) = look.status.as_deref().filter(|_| !silent.contains(node)) else {
                continue;
            };
            let hash = status.view.hash.to_string();
            if *at < since {
                before.insert(*node, hash);
            } else if status.links.iter().any(is_down)
                || before.get(node).is_some_and(|before| *before != hash)
            {
                return Some(*at - since);
            }
        }
        None
    }

    /// A node that answers.
    fn ready_node(&self) -> Option<Node> {
        let running = self.cluster.running();
        running.into_iter().find(|&node| self.looks[node].is_ready == Some(true))
    }

    /// Who owns a channel, as a node says.
    pub(super) fn owner(&self, node: Node, channel: Channel) -> Option<Node> {
        #[derive(Deserialize)]
        struct Owner {
            owner: String,
        }
        let owner: Owner = self.ask(node, "owner", channel)?;
        (0..self.looks.len()).find(|&node| plan::id(node) == owner.owner)
    }

    /// Who owns these channels, as any node says.
    pub(super) fn owners(&self, channels: &[Channel]) -> BTreeMap<Channel, Node> {
        let Some(node) = self.ready_node() else { return BTreeMap::new() };
        channels.iter().filter_map(|&c| Some((c, self.owner(node, c)?))).collect()
    }

    /// Whether all nodes name the same owners.
    pub(super) fn is_owned_once(&self, channels: &[Channel]) -> bool {
        let running = self.cluster.running();
        channels.iter().all(|&channel| {
            let owners: BTreeSet<Option<Node>> =
                running.iter().map(|&node| self.owner(node, channel)).collect();
            owners.len() == 1 && !owners.contains(&None)
        })
    }

    /// The epochs of channels; none where the nodes do not tell.
    pub(super) fn epochs(&self, channels: &[Channel]) -> BTreeMap<Channel, String> {
        #[derive(Deserialize)]
        struct Position {
            epoch: serde_json::Value,
        }
        let Some(node) = self.ready_node() else { return BTreeMap::new() };
        let epoch = |&channel: &Channel| {
            let position: Position = self.ask(node, "channel", channel)?;
            Some((channel, position.epoch.to_string()))
        };
        channels.iter().filter_map(epoch).collect()
    }

    fn ask<T: serde::de::DeserializeOwned>(
        &self,
        node: Node,
        what: &str,
        channel: Channel,
    ) -> Option<T> {
        let Stage { plan, app, .. } = &*self.stage;
        let path = format!("/cluster/{what}?app={}&channel={}", app.app_id, plan.name(channel));
        get(admin(node), &path, watch::PATIENCE).ok()?.json()
    }

    /// Compares everybody's idea of who is where with the truth.
    pub(super) fn audit(&self) -> Difference {
        let mut difference = self.judge.presence.audit();
        for node in self.cluster.running() {
            let mut caller = Caller::new(plan::clients(node));
            let Plan { hot, presence, .. } = &self.stage.plan;
            for channel in hot.clone().chain(presence.clone()) {
                self.audit_channel(node, &mut caller, channel, &mut difference);
            }
        }
        difference
    }

    fn audit_channel(
        &self,
        node: Node,
        caller: &mut Caller,
        channel: Channel,
        difference: &mut Difference,
    ) {
        #[derive(Deserialize)]
        struct Listing {
            users: Vec<Member>,
        }
        #[derive(Deserialize)]
        struct Counts {
            subscription_count: usize,
        }
        let Stage { plan, app, .. } = &*self.stage;
        let name = plan.name(channel);
        let place = format!("in {name} as {} says", plan::id(node));
        let mut ask = |resource: &str, parameters: &[(&str, &str)]| {
            let request = app.request(("GET", resource), parameters, "", &[]);
            caller.call(&request, ANSWER_MAX, || false).ok()
        };
        let resource = format!("channels/{name}");
        let info = [("info", "subscription_count")];
        let counts: Option<Counts> = ask(&resource, &info).and_then(|answer| answer.json());
        let Some(counts) = counts else {
            return difference.missing.push(format!("the count {place}"));
        };
        let mut users = None;
        if plan.presence.contains(&channel) {
            let listing = ask(&format!("{resource}/users"), &[]);
            let listing: Option<Listing> = listing.and_then(|answer| answer.json());
            let Some(listing) = listing else {
                return difference.missing.push(format!("the users {place}"));
            };
            users = Some(listing.users.iter().map(|u| u.id.as_str().into()).collect::<Users>());
        }
        let said = (users.as_ref(), counts.subscription_count);
        self.judge.presence.audit_answer(&place, channel, said, difference);
    }

    /// What the webhooks should have said last.
    pub(super) fn there(&self) -> BTreeSet<(String, Option<String>)> {
        let mut there = BTreeSet::new();
        for (channel, name) in (0..).zip(&self.stage.plan.names) {
            if self.judge.presence.count(channel) > 0 {
                there.insert((name.clone(), None));
            }
            let users = self.judge.presence.users(channel);
            there.extend(users.iter().map(|user| (name.clone(), Some(user.to_string()))));
        }
        there
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        self.stage.is_over.store(true, SeqCst);
    }
}

fn spawn(
    stage: &Arc<Stage>,
    out: &SyncSender<Observation>,
    run: impl FnOnce(&Arc<Stage>, &SyncSender<Observation>) + Send + 'static,
) -> anyhow::Result<()> {
    let (stage, out) = (Arc::clone(stage), out.clone());
    thread::Builder::new().stack_size(STACK_BYTES).spawn(move || run(&stage, &out))?;
    Ok(())
}
