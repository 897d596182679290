// SPDX-License-Identifier: MIT OR Apache-2.0
//! Forked children, and turns between them and their parent.

use std::{
    io::Write,
    os::fd::OwnedFd,
    panic::{catch_unwind, AssertUnwindSafe},
};

use nix::{
    libc,
    sys::{
        signal::{kill, Signal},
        wait::{waitpid, WaitStatus},
    },
    unistd::{fork, pipe, read, write, ForkResult, Pid},
};

use crate::ktap::diagnose;

/// Makes panics diagnostics of the test that they end.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|info| diagnose(info)));
}

/// A forked child, which is killed when dropped if nobody has waited for it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    waited: bool,
}

impl Child {
    /// Forks, and runs a function in the child, which fails by a panic.
    #[track_caller]
    pub fn run(f: impl FnOnce()) -> Self {
        // What is in the buffer would be printed by both.
        let _ = std::io::stdout().flush();
        // SAFETY: the processes that fork have one thread.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => Self {
                pid: child,
                waited: false,
            },
            ForkResult::Child => {
                let passed = catch_unwind(AssertUnwindSafe(f)).is_ok();
                let _ = std::io::stdout().flush();
                // SAFETY: no destructor of the parent's runs here.
                unsafe { libc::_exit(i32::from(!passed)) }
            }
        }
    }

    /// The process number.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for the child's end, however it comes.
    pub fn wait(mut self) -> WaitStatus {
        self.waited = true;
        waitpid(self.pid, None).expect("waitpid")
    }

    /// Waits for the child, which has to pass.
    #[track_caller]
    pub fn join(self) {
        let pid = self.pid;
        let status = self.wait();
        assert_eq!(status, WaitStatus::Exited(pid, 0), "the child failed");
    }

    /// Kills the child, and waits until it is gone.
    pub fn kill(self) {
        kill(self.pid, Signal::SIGKILL).expect("kill");
        let pid = self.pid;
        let expected = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
        assert_eq!(self.wait(), expected);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.waited {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// What one process gives to another so that it may go on.
#[derive(Debug)]
pub struct Turn {
    from: OwnedFd,
    to: OwnedFd,
}

impl Turn {
    /// Makes a turn, before the fork, for parent and child to have.
    pub fn new() -> Self {
        let (from, to) = pipe().expect("pipe");
        Self { from, to }
    }

    /// Lets the other process go on, which waits or will.
    pub fn give(&self) {
        write(&self.to, &[0]).expect("write to a pipe");
    }

    /// Waits until the other process gives the turn.
    pub fn take(&self) {
        let mut byte = [0];
        assert_eq!(read(&self.from, &mut byte), Ok(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_pass_fail_and_take_turns() {
        let (go, done) = (Turn::new(), Turn::new());
        let child = Child::run(|| {
            go.take();
            done.give();
        });
        go.give();
        done.take();
        child.join();

        let child = Child::run(|| panic!("as it should"));
        let pid = child.pid();
        assert_eq!(child.wait(), WaitStatus::Exited(pid, 1));

        Child::run(|| go.take()).kill();
    }
}
