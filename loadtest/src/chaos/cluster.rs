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
    /// An earlier version of it, that nodes begin with.
    pub before: Option<PathBuf>,
    /// Every second node begins with the program, and only the others with the earlier one.
    pub is_mixed: bool,
    /// Whether it is a cluster.
    pub is_cluster: bool,
    /// Nodes that are asked for the cluster.
    pub seeds: usize,
    /// Only more than half of so many nodes may serve.
    pub majority_of: Option<usize>,
    /// Whether channels are forgotten as soon as everybody has gone, and no webhook tells of it.
    pub is_forgetful: bool,
    /// How long connections are closed over.
    pub drain_window: String,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Cluster {
    folder: PathBuf,
    settings: Settings,
    children: Vec<Option<Child>>,
    /// Which nodes are started with the earlier program.
    is_before: Vec<bool>,
}

impl Cluster {
    /// Room for so many nodes, none of which runs.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn new(folder: &Path, settings: Settings, nodes: usize) -> anyhow::Result<Self> {
        // The nodes' users may not be able to read the folder that the program was built in.
        let program = copy(&settings.program, folder.join("handbell"))?;
        let before = settings.before.as_ref();
        let before = before.map(|path| copy(path, folder.join("handbell-before"))).transpose()?;
        let is_before = |node| before.is_some() && (!settings.is_mixed || node % 2 == 1);
        let is_before = (0..nodes).map(is_before).collect();
        let settings = Settings { program, before, ..settings };
        let children = (0..nodes).map(|_| None).collect();
        Ok(Self { folder: folder.to_owned(), settings, children, is_before })
    }

    /// From now on a node is started with the other program; true if that is the later one.
    pub(super) fn exchange(&mut self, node: Node) -> bool {
        self.is_before[node] = !self.is_before[node] && self.settings.before.is_some();
        !self.is_before[node]
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
        command.args(["leash", "--user", &user.to_string(), "--"]);
        let Settings { program, before, .. } = &self.settings;
        command.arg(before.as_ref().filter(|_| self.is_before[node]).unwrap_or(program));
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

fn copy(program: &Path, to: PathBuf) -> anyhow::Result<PathBuf> {
    fs::copy(program, &to).with_context(|| format!("{} cannot be copied", program.display()))?;
    Ok(to)
}

fn configuration(node: Node, settings: &Settings) -> String {
    let (clients, admin, peers) = (plan::clients(node), plan::admin(node), plan::peers(node));
    let seeds: Vec<String> =
        (0..settings.seeds).map(|node| format!("\"{}\"", plan::peers(node))).collect();
    let majority = settings
        .majority_of
        .map_or_else(String::new, |size| format!("partition_mode = \"majority\"\nsize = {size}\n"));
    let cluster = format!(
        "[cluster]\nnode_id = \"{}\"\nlisten = \"{peers}\"\nseeds = [{}]\n\
         secret = \"a-secret-of-the-chaos-runner-0123456789\"\nack = \"replicated\"\n\
         bootstrap_after = \"2s\"\n{majority}",
        plan::id(node),
        seeds.join(", "),
    );
    let cluster = if settings.is_cluster { cluster.as_str() } else { "" };
    let webhooks = format!(
        "[[apps.webhooks]]\nurl = \"http://{}/\"\nallow_private_address = true\n\
         events = [\"channel_occupied\", \"channel_vacated\", \"member_added\", \"member_removed\"]\n",
        sink::ADDRESS,
    );
    let forgetful = "[history]\nseconds = 1\n";
    let (history, webhooks) =
        if settings.is_forgetful { (forgetful, "") } else { ("", webhooks.as_str()) };
    format!(
        "[server]\nlisten = \"{clients}\"\n[admin]\nlisten = \"{admin}\"\n{cluster}{history}\
         [drain]\ndelay = \"500ms\"\nwindow = \"{}\"\n\
         [[apps]]\nid = \"chaos\"\nkey = \"chaos-key\"\nsecret = \"chaos-secret\"\n\
         limits = {{ publishes_per_second = 1000000 }}\n{webhooks}",
        settings.drain_window,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(majority_of: Option<usize>) -> Settings {
        Settings {
            program: "/bin/true".into(),
            before: None,
            is_mixed: false,
            is_cluster: true,
            seeds: 3,
            majority_of,
            is_forgetful: false,
            drain_window: "1s".into(),
        }
    }

    #[test]
    fn nodes_begin_with_the_earlier_program_and_take_turns_with_the_other() {
        let folder = std::env::temp_dir().join(format!("handbell-mixed-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (is_mixed, expected) in [(false, [true, true]), (true, [false, true])] {
            let before = Some("/bin/true".into());
            let settings = Settings { before, is_mixed, ..settings(None) };
            let mut cluster = Cluster::new(&folder, settings, 2).unwrap();
            assert_eq!(cluster.is_before, expected);
            assert!(cluster.exchange(1), "the later one");
            assert!(!cluster.exchange(1), "and back");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_partition_mode_is_configured_only_if_it_is_not_the_default() {
        assert!(!configuration(0, &settings(None)).contains("partition_mode"));
        let text = configuration(0, &settings(Some(3)));
        let cluster = text.split("[drain]").next().unwrap();
        assert!(cluster.contains("[cluster]"), "{text}");
        assert!(cluster.contains("partition_mode = \"majority\"\nsize = 3\n"), "{text}");
    }
}
