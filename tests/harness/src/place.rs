//! Where a program runs: a network namespace and a cgroup. Programs are started in both at once, before their first
//! instruction, so that every socket of theirs is made where the kernel programs look.
//!
//! Children carry no parent-death signal: it would fire when the thread that started them ends, and a test's
//! thread ends before the topology that it was the first to ask for. The guard kills the cgroup instead.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{self, User};

use crate::netns::Netns;
use crate::process::{Finished, Process};
use crate::{binaries, socket, wait};

/// A network namespace and a cgroup.
#[derive(Debug, Clone)]
pub struct Place {
    name: String,
    netns: Netns,
    cgroup: PathBuf,
    logs: PathBuf,
}

/// A program about to be started in a place.
#[derive(Debug)]
#[must_use]
pub struct Program {
    place: Place,
    name: String,
    command: Command,
    user: Option<String>,
    input: Vec<u8>,
}

// === impl Place ===

impl Place {
    /// Makes the cgroup if it is not there. Logs of programs go to `logs`.
    pub fn new(name: &str, netns: &Netns, cgroup: &Path, logs: &Path) -> Result<Self> {
        for folder in [cgroup, logs] {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        Ok(Self {
            name: name.to_owned(),
            netns: netns.clone(),
            cgroup: cgroup.into(),
            logs: logs.into(),
        })
    }

    /// Its name, which begins the names of its logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The cgroup's folder.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The same namespace under another cgroup.
    pub fn with_cgroup(&self, name: &str, cgroup: &Path) -> Result<Self> {
        Self::new(name, &self.netns, cgroup, &self.logs)
    }

    /// One of our programs, from the build's output.
    pub fn our_program(&self, name: &str) -> Result<Program> {
        Ok(self.program_at(name, &binaries::ours(name)?))
    }

    /// Another's program, from the PATH.
    pub fn program(&self, name: &str) -> Result<Program> {
        Ok(self.program_at(name, &binaries::theirs(name)?))
    }

    /// A program by its path; `name` is for logs and messages.
    pub fn program_at(&self, name: &str, path: &Path) -> Program {
        Program {
            place: self.clone(),
            name: name.to_owned(),
            command: Command::new(path),
            user: None,
            input: Vec::new(),
        }
    }

    /// Runs another's program to its end, and gives its output if it succeeded.
    pub fn run(&self, name: &str, arguments: &[&str], deadline: Duration) -> Result<Finished> {
        self.program(name)?.args(arguments).run(deadline)?.success()
    }

    /// Connects from a process in this place: captured if its workload is.
    pub fn connect(
        &self,
        to: SocketAddr,
        deadline: Duration,
    ) -> Result<std::io::Result<std::net::TcpStream>> {
        socket::connect(self, to, deadline)
    }

    /// Listens from a process in this place. Port 0 lets the kernel choose.
    pub fn listen(&self, at: SocketAddr) -> Result<std::net::TcpListener> {
        socket::listen(self, at)
    }

    /// Waits until something in the namespace listens at a TCP port.
    pub fn wait_listening(&self, port: u16, deadline: Duration) -> Result<()> {
        let what = format!("a listener at port {port} in {}", self.netns.name());
        wait::until_true(&what, deadline, || {
            self.netns
                .enter(|| is_listening(port))
                .is_ok_and(|listening| listening)
        })
    }

    /// The ids of the processes in the cgroup itself.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let path = self.cgroup.join("cgroup.procs");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    pub(crate) fn cgroup_entrance(&self) -> Result<File> {
        let path = self.cgroup.join("cgroup.procs");
        OpenOptions::new()
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))
    }
}

/// Whether a TCP socket of the calling thread's namespace listens at `port`: state 0A in /proc/thread-self/net/tcp
/// and tcp6 (proc_pid_net(5)).
fn is_listening(port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|file| {
        fs::read_to_string(format!("/proc/thread-self/net/{file}")).is_ok_and(|table| {
            table.lines().skip(1).any(|line| {
                let mut fields = line.split_whitespace().skip(1);
                fields.next().is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some("0A")
            })
        })
    })
}

// === impl Program ===

impl Program {
    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Runs it as another user, with that user's own group only.
    pub fn user(mut self, name: &str) -> Self {
        self.user = Some(name.to_owned());
        self
    }

    /// Runs it in another working folder.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What it reads from standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Runs it to its end, whatever that is; killed at the deadline.
    pub fn run(self, deadline: Duration) -> Result<Finished> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |of: &str| {
            self.place
                .logs
                .join(format!("{}-{}-{number}.{of}", self.place.name, self.name))
        };
        let (out, err) = (file("stdout"), file("stderr"));
        let command = format!("{:?} in {}", self.command, self.place.name);
        let child = self.start(File::create(&out)?, File::create(&err)?)?;
        let mut process = Process::new(&command, child, err.clone());
        let status = if let Ok(status) = process.wait(deadline) {
            status
        } else {
            process.kill()?;
            process.wait(deadline)?
        };
        let finished = Finished {
            command,
            status,
            stdout: fs::read(&out).with_context(|| format!("read {}", out.display()))?,
            stderr: process.log(),
        };
        for used in [out, err] {
            fs::remove_file(&used).with_context(|| format!("remove {}", used.display()))?;
        }
        Ok(finished)
    }

    /// Starts it. Its output goes to a log that later processes of the same name and place append to.
    pub fn spawn(self) -> Result<Process> {
        let log = self
            .place
            .logs
            .join(format!("{}-{}.log", self.place.name, self.name));
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&log)
                .with_context(|| format!("open {}", log.display()))
        };
        let name = format!("{} in {}", self.name, self.place.name);
        let child = self.start(open()?, open()?)?;
        Ok(Process::new(&name, child, log))
    }

    #[expect(
        unsafe_code,
        reason = "between fork and exec is the only moment to enter the namespace and the cgroup"
    )]
    fn start(mut self, out: File, err: File) -> Result<Child> {
        let user = self
            .user
            .as_deref()
            .map(|name| User::from_name(name)?.ok_or_else(|| anyhow!("there is no user {name}")))
            .transpose()?;
        let netns = self.place.netns.open()?;
        let mut cgroup = self.place.cgroup_entrance()?;
        let stdin = if self.input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        };
        // Its own group: a Ctrl-C in the terminal is ours to act on, in order.
        self.command.stdin(stdin).stdout(out).stderr(err).process_group(0);
        let enter = move || {
            cgroup.write_all(b"0")?; // cgroups(7): 0 stands for the writer
            setns(&netns, CloneFlags::CLONE_NEWNET)?;
            if let Some(user) = &user {
                unistd::setgroups(&[user.gid])?;
                unistd::setgid(user.gid)?;
                unistd::setuid(user.uid)?;
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls only, on descriptors and values made before the fork; it neither
        // allocates nor takes a lock.
        unsafe { self.command.pre_exec(enter) };
        let mut child = self
            .command
            .spawn()
            .with_context(|| format!("start {} in {}", self.name, self.place.name))?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = self.input;
            std::thread::spawn(move || stdin.write_all(&input)); // ends with the child, whose end closes the pipe
        }
        Ok(child)
    }
}
