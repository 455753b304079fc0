//! The guest: one QEMU process, a shell in it, its screen, and its serial ports.

use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::qmp::Qmp;
use super::screen::SCREEN;
use super::small_model;

/// A boot takes 6 s on a quiet machine.
const BOOT_MAX: Duration = Duration::from_secs(120);
/// How long a command may take; emulation on a busy machine is slow.
pub(super) const COMMAND_MAX: Duration = Duration::from_secs(90);
/// How long to wait for what has to happen by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Where a program in the background of the guest says what it has to say.
pub(super) const LOG: &str = "/tmp/log";
/// How much a command may print.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// A booted guest. Dropping it ends it.
pub(super) struct Guest {
    qemu: Child,
    shell: UnixStream,
    /// The monitor: screenshots, plugging and unplugging.
    pub(super) qmp: Qmp,
    /// The other end of the guest's `/dev/ttyS1`.
    pub(super) panel: UnixStream,
    /// The other end of a usb-serial adapter, once one is plugged in.
    pub(super) usb: UnixStream,
    /// Sockets, the kernel's log, and the folder that the guest sees as `/share`.
    folder: TempDir,
    commands: u64,
    transcript: String,
}

impl Guest {
    /// Boots `files`/vmlinux and puts `program` into the guest as `autochrome`.
    pub(super) fn boot(files: &Path, program: &Path) -> Result<Self> {
        // Under the system's folder for temporary files: the path of a socket may have no more than 107 bytes.
        let folder = tempfile::tempdir()?;
        let share = folder.path().join("share");
        fs::create_dir(&share)?;
        fs::copy(program, share.join("autochrome")).with_context(|| format!("copy {}", program.display()))?;
        fs::write(share.join("small.onnx"), small_model::bytes())?;

        let mut qemu = Command::new("qemu-system-x86_64");
        // Emulated always, so that every machine tests the same; `max` has AVX2.
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "768",
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
        ])
        .arg("-kernel")
        .arg(files.join("vmlinux"))
        .arg("-initrd")
        .arg(files.join("initramfs.cpio"))
        .args(["-append", "console=ttyS0 loglevel=6 panic=-1 mitigations=off random.trust_cpu=on"])
        .args(["-device", "virtio-serial-pci", "-device", "qemu-xhci,id=xhci"])
        .arg("-device")
        .arg(format!("virtio-gpu-pci,id=screen,xres={},yres={}", SCREEN.0, SCREEN.1))
        .arg("-virtfs")
        .arg(format!("local,path={},mount_tag=share,security_model=none", share.display()))
        .arg("-serial")
        .arg(format!("file:{}", folder.path().join("console").display()));
        // The driver listens and QEMU connects, so nobody waits for a socket to appear.
        let mut listeners = Vec::new();
        for (name, front) in [
            ("shell", ["-device", "virtserialport,chardev=shell,name=shell"].as_slice()),
            ("monitor", &["-mon", "chardev=monitor,mode=control"]),
            ("panel", &["-serial", "chardev:panel"]),
            ("usb", &[]),
        ] {
            let path = folder.path().join(name);
            listeners.push(UnixListener::bind(&path)?);
            qemu.arg("-chardev").arg(format!("socket,id={name},path={}", path.display())).args(front);
        }
        let errors = fs::File::create(folder.path().join("qemu"))?;
        let mut qemu = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().context("start qemu-system-x86_64")?;
        let started = (|| {
            let mut sockets = listeners.iter().map(|listener| accept(listener, &mut qemu, folder.path()));
            let mut next = || sockets.next().context("one socket each")?;
            let (shell, monitor, panel, usb) = (next()?, next()?, next()?, next()?);
            anyhow::Ok((shell, Qmp::greet(monitor)?, panel, usb))
        })();
        let (shell, qmp, panel, usb) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                return Err(error);
            }
        };
        let mut guest = Self { qemu, shell, qmp, panel, usb, folder, commands: 0, transcript: String::new() };
        guest.run("cp /share/autochrome /bin/", BOOT_MAX)?;
        Ok(guest)
    }

    /// Runs a command of the guest's shell and gives its exit code with what it printed.
    ///
    /// # Errors
    /// If it takes longer than `limit`; the guest is of no use any more then.
    pub(super) fn run(&mut self, command: &str, limit: Duration) -> Result<(i32, String)> {
        self.commands += 1;
        let _ = writeln!(self.transcript, "# {command}");
        let mark = format!("=={}==", self.commands);
        writeln!(self.shell, "{{ {command}\n}} </dev/null 2>&1; printf '\\n{mark}%d\\n' $?")?;
        let deadline = Instant::now() + limit;
        let mut printed = Vec::new();
        let mut chunk = [0; 4096];
        let result = loop {
            let text = String::from_utf8_lossy(&printed);
            if let Some((output, code)) = text.rsplit_once(&format!("\n{mark}"))
                && code.ends_with('\n')
            {
                break Ok((code.trim().parse()?, output.trim_end().to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(anyhow::anyhow!("no end after {} s: {command}", limit.as_secs()));
            }
            if printed.len() > OUTPUT_BYTES_MAX {
                break Err(anyhow::anyhow!("prints without end: {command}"));
            }
            self.shell.set_read_timeout(Some(left))?;
            match self.shell.read(&mut chunk) {
                Ok(0) => break Err(anyhow::anyhow!("the guest ended during: {command}")),
                Ok(count) => printed.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(error) => break Err(error.into()),
            }
        };
        let _ = match &result {
            Ok((code, output)) => writeln!(self.transcript, "{output}\n(exit code {code})"),
            Err(_) => writeln!(self.transcript, "{}", String::from_utf8_lossy(&printed)),
        };
        result
    }

    /// Runs a command that has to end with exit code 0, and gives what it printed.
    pub(super) fn sh(&mut self, command: &str) -> Result<String> {
        let (code, output) = self.run(command, COMMAND_MAX)?;
        if code != 0 {
            bail!("exit code {code}: {command}");
        }
        Ok(output)
    }

    /// Waits until a command ends with exit code 0.
    pub(super) fn until(&mut self, condition: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.run(condition, COMMAND_MAX)?.0 != 0 {
            ensure!(Instant::now() < deadline, "for {} s this failed: {condition}", PATIENCE.as_secs());
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The bytes of a file in the guest.
    pub(super) fn fetch(&mut self, path: &str) -> Result<Vec<u8>> {
        self.sh(&format!("cp {path} /share/fetched"))?;
        let fetched = self.share().join("fetched");
        fs::read(&fetched).with_context(|| format!("read {path} of the guest"))
    }

    /// The folder that the guest sees as `/share`.
    pub(super) fn share(&self) -> PathBuf {
        self.folder.path().join("share")
    }

    /// Forgets what was said before.
    pub(super) fn begin_case(&mut self) {
        self.transcript.clear();
    }

    /// What was said since the case began, and the end of the program's log and of the kernel's.
    pub(super) fn obituary(&mut self) -> String {
        let said = std::mem::take(&mut self.transcript);
        let log = self.run(&format!("tail -n 30 {LOG}"), Duration::from_secs(5)).map_or_else(|error| error.to_string(), |(_, log)| log);
        let kernel = fs::read(self.folder.path().join("console")).unwrap_or_default();
        let kernel = String::from_utf8_lossy(&kernel);
        let kernel: Vec<&str> = kernel.lines().collect();
        let kernel = kernel[kernel.len().saturating_sub(20)..].join("\n");
        format!("-- in the guest:\n{said}-- {LOG}:\n{log}\n-- the kernel's last lines:\n{kernel}")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The connection that QEMU makes while it starts.
fn accept(listener: &UnixListener, qemu: &mut Child, folder: &Path) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nonblocking(false)?;
                return Ok(socket);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("qemu-system-x86_64: {status}: {}", fs::read_to_string(folder.join("qemu")).unwrap_or_default().trim());
        }
        if Instant::now() > deadline {
            bail!("qemu-system-x86_64 does not connect to its sockets");
        }
        sleep(Duration::from_millis(5));
    }
}
