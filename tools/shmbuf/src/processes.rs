// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who uses buffers: what /proc tells of the handles, mappings and dma-bufs of processes.

use std::{collections::BTreeMap, fs, io, path::Path};

use nix::libc;

/// What stands for all private buffers together, as in debugfs.
pub const PRIVATE: &str = "private";

/// How a process uses a buffer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Use {
    pub program: String,
    pub handles: usize,
    pub mappings: usize,
    pub dma_bufs: usize,
}

/// Those that use a buffer, by their numbers.
pub type Processes = BTreeMap<i32, Use>;

/// An open file of a buffer, and what its fdinfo says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    pub process: i32,
    pub descriptor: i32,
    pub fdinfo: BTreeMap<String, String>,
}

impl Handle {
    /// Whether both are the same open file.
    fn is(&self, other: &Self) -> bool {
        const KCMP_FILE: libc::c_long = 0;
        let number = libc::c_long::from;
        // SAFETY: the call compares two numbers in the kernel, and gets no pointer.
        let order = unsafe {
            libc::syscall(
                libc::SYS_kcmp,
                number(self.process),
                number(other.process),
                KCMP_FILE,
                number(self.descriptor),
                number(other.descriptor),
            )
        };
        order == 0
    }

    /// Where it is in /proc.
    pub fn name(&self) -> String {
        format!("{}/fd/{}", self.process, self.descriptor)
    }
}

/// What was found in /proc.
#[derive(Debug, Default)]
pub struct Found {
    /// Who uses each buffer, by the buffer's name in debugfs; [`PRIVATE`] for all private buffers.
    pub users: BTreeMap<String, Processes>,
    /// Private buffers that a process has a handle on, with who else has that handle.
    pub private: Vec<(Handle, Processes)>,
    /// Whether there are processes that may not be looked into.
    pub is_partial: bool,
}

/// Looks through the processes that `proc`, which is /proc, has.
pub fn look(proc: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let mut processes = Vec::new();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        if let Some(process) = number(&entry.path()) {
            processes.push((process, entry.path()));
        }
    }
    processes.sort();

    // The buffers of dma-bufs, by the inodes of these.
    let mut dma_bufs = BTreeMap::new();
    for (process, folder) in &processes {
        let looked = found.look_at_descriptors(*process, folder, &mut dma_bufs);
        found.note(&looked);
    }
    for (process, folder) in &processes {
        let looked = found.look_at_mappings(*process, folder, &dma_bufs);
        found.note(&looked);
    }
    Ok(found)
}

impl Found {
    fn look_at_descriptors(
        &mut self,
        process: i32,
        folder: &Path,
        dma_bufs: &mut BTreeMap<String, String>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(folder.join("fd"))? {
            let path = entry?.path();
            let (Some(descriptor), Ok(target)) = (number(&path), fs::read_link(&path)) else {
                continue;
            };
            let target = target.to_string_lossy();
            let is_dma_buf = is_dma_buf(&target);
            let buffer = buffer(&target);
            if buffer.is_none() && !is_dma_buf {
                continue;
            }
            // One that is closed by now has none.
            let Ok(text) = fs::read_to_string(folder.join(format!("fdinfo/{descriptor}"))) else {
                continue;
            };
            let fdinfo = fields(&text);
            if let Some(buffer) = buffer {
                self.user(&buffer, process, folder).handles += 1;
                if buffer == PRIVATE {
                    let handle = Handle {
                        process,
                        descriptor,
                        fdinfo,
                    };
                    self.add_private(handle, folder);
                }
            } else if let Some(buffer) = fdinfo.get("exp_name").and_then(|name| exporter(name)) {
                self.user(&buffer, process, folder).dma_bufs += 1;
                if let Some(inode) = fdinfo.get("ino") {
                    dma_bufs.insert(inode.clone(), buffer);
                }
            }
        }
        Ok(())
    }

    fn look_at_mappings(
        &mut self,
        process: i32,
        folder: &Path,
        dma_bufs: &BTreeMap<String, String>,
    ) -> io::Result<()> {
        for line in fs::read_to_string(folder.join("maps"))?.lines() {
            // Addresses, permissions, offset, device, inode, path.
            let fields: Vec<_> = line.splitn(6, ' ').collect();
            let [.., inode, path] = fields[..] else {
                continue;
            };
            let path = path.trim_start();
            let buffer = match is_dma_buf(path) {
                true => dma_bufs.get(inode).cloned(),
                false => buffer(path),
            };
            if let Some(buffer) = buffer {
                self.user(&buffer, process, folder).mappings += 1;
            }
        }
        Ok(())
    }

    /// A process as a user of a buffer.
    fn user(&mut self, buffer: &str, process: i32, folder: &Path) -> &mut Use {
        let users = self.users.entry(buffer.into()).or_default();
        users.entry(process).or_insert_with(|| Use::new(folder))
    }

    fn add_private(&mut self, handle: Handle, folder: &Path) {
        let same = self.private.iter_mut().find(|(it, _)| it.is(&handle));
        let process = handle.process;
        let users = match same {
            Some((_, users)) => users,
            None => {
                self.private.push((handle, Processes::new()));
                let (_, users) = self.private.last_mut().expect("it was pushed");
                users
            }
        };
        let user = users.entry(process).or_insert_with(|| Use::new(folder));
        user.handles += 1;
    }

    /// Remembers that a process may not be looked into. One that has ended is none.
    fn note(&mut self, looked: &io::Result<()>) {
        let kind = looked.as_ref().err().map(io::Error::kind);
        self.is_partial |= kind == Some(io::ErrorKind::PermissionDenied);
    }
}

impl Use {
    fn new(folder: &Path) -> Self {
        let program = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        Self {
            program: program.trim_end().into(),
            ..Self::default()
        }
    }
}

/// The number that a path ends with.
fn number(path: &Path) -> Option<i32> {
    path.file_name()?.to_str()?.parse().ok()
}

/// The values of lines "key: value".
fn fields(text: &str) -> BTreeMap<String, String> {
    let field = |line: &str| {
        let (key, value) = line.split_once(':')?;
        Some((key.to_string(), value.trim().to_string()))
    };
    text.lines().filter_map(field).collect()
}

fn is_dma_buf(path: &str) -> bool {
    path.starts_with("/dmabuf:")
}

/// The buffer whose file has a path.
fn buffer(path: &str) -> Option<String> {
    if path == "anon_inode:[shmbuf]" {
        return Some(PRIVATE.into());
    }
    let name = path.strip_prefix("/dev/shmbuf")?;
    match name.strip_prefix('-') {
        Some(name) => Some(name.into()),
        // The node of another buffer may have come to its place, and what has gone is said behind.
        None if name.is_empty() || name.starts_with(' ') => Some(format!("default{name}")),
        None => None,
    }
}

/// The buffer that a dma-buf is of, by the name of its exporter.
fn exporter(name: &str) -> Option<String> {
    name.strip_prefix("shmbuf-").map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_told_apart() {
        for (path, name) in [
            ("/dev/shmbuf", Some("default")),
            ("/dev/shmbuf-camera", Some("camera")),
            ("/dev/shmbuf-camera (deleted)", Some("camera (deleted)")),
            ("/dev/shmbuf (deleted)", Some("default (deleted)")),
            ("anon_inode:[shmbuf]", Some(PRIVATE)),
            ("/dev/shmbufx", None),
            ("/dev/null", None),
            ("/home/shmbuf", None),
            ("anon_inode:[eventfd]", None),
            ("/dmabuf:", None),
        ] {
            assert_eq!(buffer(path).as_deref(), name, "{path}");
        }
        assert_eq!(exporter("shmbuf-camera").as_deref(), Some("camera"));
        assert_eq!(exporter("vgem"), None);
    }

    /// A /proc with a process that has files and mappings.
    fn make(proc: &Path, process: i32, program: &str, files: &[(&str, &str)], maps: &str) {
        let folder = proc.join(process.to_string());
        for name in ["fd", "fdinfo"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("comm"), format!("{program}\n")).unwrap();
        fs::write(folder.join("maps"), maps).unwrap();
        for (number, (target, fdinfo)) in files.iter().enumerate() {
            symlink(target, folder.join(format!("fd/{number}"))).unwrap();
            fs::write(folder.join(format!("fdinfo/{number}")), fdinfo).unwrap();
        }
    }

    #[test]
    fn users_are_found() {
        let proc = std::env::temp_dir().join(format!("shmbuf-proc-{}", std::process::id()));
        // The numbers are of no process, so no two files are the same.
        let (first, second) = (i32::MAX, i32::MAX - 1);
        let dma_buf = "pos:\t0\nino:\t77\nsize:\t4096\nexp_name:\tshmbuf-camera\n";
        make(
            &proc,
            first,
            "capture",
            &[
                ("/dev/null", "pos:\t0\n"),
                ("/dev/shmbuf-camera", "kind:\tstreaming\n"),
                ("/dmabuf:", dma_buf),
                ("/dmabuf:", "ino:\t78\nexp_name:\tvgem\n"),
                (
                    "anon_inode:[shmbuf]",
                    "kind:\tpages\nmemory-type:\tNormal, write-back\n",
                ),
            ],
            "\
b6e00000-b6f00000 rw-s 00000000 00:06 99                 /dev/shmbuf-camera
b6f00000-b6f01000 rw-s 00000000 00:06 99                 /dev/shmbuf-camera
b6f01000-b6f02000 rw-s 00000000 00:09 5                  anon_inode:[shmbuf]
b6f02000-b6f03000 rw-p 00000000 00:00 0
",
        );
        make(
            &proc,
            second,
            "show",
            &[],
            "b6e00000-b6e01000 r--s 00000000 00:0b 77      /dmabuf:\n",
        );
        fs::create_dir(proc.join("self")).unwrap();
        let found = look(&proc);
        fs::remove_dir_all(&proc).unwrap();
        let found = found.unwrap();
        let used = |program: &str, handles, mappings, dma_bufs| Use {
            program: program.into(),
            handles,
            mappings,
            dma_bufs,
        };
        let camera = [
            (first, used("capture", 1, 2, 1)),
            (second, used("show", 0, 1, 0)),
        ];
        let private = [(first, used("capture", 1, 1, 0))];
        let users = [("camera", &camera[..]), (PRIVATE, &private[..])];
        let users = users.map(|(name, users)| (name.into(), users.iter().cloned().collect()));
        assert_eq!(found.users, users.into());
        let [(handle, users)] = &found.private[..] else {
            panic!("{:?}", found.private);
        };
        assert_eq!(handle.name(), format!("{first}/fd/4"));
        assert_eq!(handle.fdinfo["memory-type"], "Normal, write-back");
        assert_eq!(*users, [(first, used("capture", 1, 0, 0))].into());
        assert!(!found.is_partial);
    }

    #[test]
    fn the_same_file_is_known_again() {
        let handle = |descriptor| Handle {
            process: std::process::id().try_into().unwrap(),
            descriptor,
            fdinfo: BTreeMap::new(),
        };
        assert!(!handle(0).is(&handle(1_000_000)));
    }
}
