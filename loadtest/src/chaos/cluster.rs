//! The nodes: real processes, each with an address, a user, a configuration and a log of its own. They
//! end with the value that owns them, and, being on a leash, also when this process is killed.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::observation::Node;
use super::plan;
use super::sink;

/// Users of the nodes: the network knows a node's packets by its user.
pub(super) const FIRST_USER: u32 = 20_011;

/// What the nodes' configurations have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The program.
    pub program: PathBuf,
    /// Whether it is a cluster.
    pub is_cluster: bool,
    /// Nodes that are asked for the cluster.
    pub seeds: usize,
    /// How long connections are closed over.
    pub drain_window: String,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Cluster {
    folder: PathBuf,
    settings: Settings,
    children: Vec<Option<Child>>,
}

impl Cluster {
    /// Room for so many nodes, none of which runs.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn new(folder: &Path, settings: Settings, nodes: usize) -> anyhow::Result<Self> {
        // The nodes' users may not be able to read the folder that the program was built in.
        let program = folder.join("handbell");
        fs::copy(&settings.program, &program)
            .with_context(|| format!("{} cannot be copied", settings.program.display()))?;
        let settings = Settings { program, ..settings };
        let children = (0..nodes).map(|_| None).collect();
        Ok(Self { folder: folder.to_owned(), settings, children })
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(super) fn start(&mut self, node: Node) -> anyhow::Result<()> {
        let (folder, id) = (&self.folder, plan::id(node));
        let file = folder.join(format!("{id}.toml"));
        fs::write(&file, configuration(node, &self.settings))?;
        let log = folder.join(format!("{id}.log"));
        let log: File = OpenOptions::new().create(true).append(true).open(log)?;
        let user = FIRST_USER + u32::try_from(node)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["leash", "--user", &user.to_string(), "--"]).arg(&self.settings.program);
        command.arg("serve").arg("--config").arg(&file);
        // Variables such as HANDBELL__… would configure the child.
        command.env_clear().env("RUST_BACKTRACE", "1").stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{id} cannot be started"))?;
        self.children[node] = Some(child);
        Ok(())
    }

    /// The process of a node that runs.
    pub(super) fn pid(&self, node: Node) -> Option<u32> {
        self.children[node].as_ref().map(Child::id)
    }

    /// Sends a signal to a node.
    ///
    /// # Errors
    /// If it does not run.
    pub(super) fn signal(&self, node: Node, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid(node).and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        let pid = pid.with_context(|| format!("{} does not run", plan::id(node)))?;
        Ok(kill_process(pid, signal)?)
    }

    /// How a node ended, if it has; then it can be started again.
    pub(super) fn ended(&mut self, node: Node) -> Option<ExitStatus> {
        let status = self.children[node].as_mut()?.try_wait().ok()??;
        self.children[node] = None;
        Some(status)
    }

    /// Nodes that run.
    pub(super) fn running(&self) -> Vec<Node> {
        (0..self.children.len()).filter(|&node| self.children[node].is_some()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // Either fails only if the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn configuration(node: Node, settings: &Settings) -> String {
    let (clients, admin, peers) = (plan::clients(node), plan::admin(node), plan::peers(node));
    let seeds: Vec<String> =
        (0..settings.seeds).map(|node| format!("\"{}\"", plan::peers(node))).collect();
    let cluster = format!(
        "[cluster]\nnode_id = \"{}\"\nlisten = \"{peers}\"\nseeds = [{}]\n\
         secret = \"a-secret-of-the-chaos-runner-0123456789\"\nack = \"replicated\"\n\
         bootstrap_after = \"2s\"\n",
        plan::id(node),
        seeds.join(", "),
    );
    let cluster = if settings.is_cluster { cluster.as_str() } else { "" };
    format!(
        "[server]\nlisten = \"{clients}\"\n[admin]\nlisten = \"{admin}\"\n{cluster}\
         [drain]\ndelay = \"500ms\"\nwindow = \"{}\"\n\
         [[apps]]\nid = \"chaos\"\nkey = \"chaos-key\"\nsecret = \"chaos-secret\"\n\
         limits = {{ publishes_per_second = 1000000 }}\n\
         [[apps.webhooks]]\nurl = \"http://{}/\"\nallow_private_address = true\n\
         events = [\"channel_occupied\", \"channel_vacated\", \"member_added\", \"member_removed\"]\n",
        settings.drain_window,
        sink::ADDRESS,
    )
}
