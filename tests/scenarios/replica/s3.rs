//! Copies in an object store that speaks S3, behind a connection that breaks, and a server that is killed. Needs
//! `DIFUSOR_S3_SERVER`, the program of moto's server: see `tests/replica/run`.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use difusor_coordinator::{
    publish::Request,
    replica::{Remote, ReplicaConfig},
};
use difusor_tests::{command, package::pack, publish, until};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::{
    PROGRAM,
    rig::{Files, Rig, files},
};

/// Several parts, the last of them shorter.
const LARGE: usize = (27 << 20) + 12_345;

/// Bytes after which a connection breaks: in the middle of the second part.
const BREAK: u64 = 12 << 20;

const URL: &str = "s3://bucket/night/one";

/// The object store. Its memory is all it has: killed, it has lost everything.
struct Server {
    child: Child,
    at: SocketAddr,
    program: String,
}

impl Server {
    async fn start(program: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Self { child: Self::spawn(program, at), at, program: program.into() };
        server.wait().await;
        server
    }

    fn spawn(program: &str, at: SocketAddr) -> Child {
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &at.port().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Waits until it answers, and makes the bucket.
    async fn wait(&mut self) {
        until("the object store answers", async || Ok(TcpStream::connect(self.at).ok())).await.unwrap();
        assert!(self.ask("PUT", "/bucket").0.contains("200"));
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn again(&mut self) {
        self.child = Self::spawn(&self.program, self.at);
        self.wait().await;
    }

    /// First line and body of an answer.
    fn ask(&self, method: &str, path: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.at).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", self.at).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let first = String::from_utf8_lossy(&answer[..head]).lines().next().unwrap().to_owned();
        (first, answer.split_off(head + 4))
    }

    /// Keys below the prefix.
    fn keys(&self) -> Vec<String> {
        let (_, body) = self.ask("GET", "/bucket?list-type=2&prefix=night/one/");
        let text = String::from_utf8(body).unwrap();
        let keys = text.split("<Key>night/one/").skip(1).filter_map(|rest| rest.split('<').next());
        keys.map(str::to_owned).collect()
    }

    /// Every object below the prefix, as whoever has the access key gets it, past the wire.
    async fn objects(&self, keys: &Path) -> Files {
        let config = ReplicaConfig {
            endpoint: Some(format!("http://{}", self.at)),
            allow_http: true,
            credentials: Some(keys.into()),
            ..ReplicaConfig::at(URL)
        };
        let remote = Remote::open(&config).unwrap();
        let to = keys.with_extension("object");
        let mut objects = Files::new();
        for name in self.keys() {
            remote.download(&name.parse().unwrap(), &to, &CancellationToken::new()).await.unwrap();
            objects.push((name, fs::read(&to).unwrap()));
        }
        objects
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A wire between the coordinator and the server that can be cut.
struct Wire {
    at: SocketAddr,
    /// Bytes that may still go up.
    left: AtomicU64,
    cut: AtomicBool,
}

impl Wire {
    async fn lay(to: SocketAddr) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let wire = Arc::new(Self { at, left: u64::MAX.into(), cut: false.into() });
        let laid = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let wire = Arc::clone(&wire);
                tokio::spawn(async move { wire.carry(near, to).await });
            }
        });
        laid
    }

    async fn carry(&self, mut near: tokio::net::TcpStream, to: SocketAddr) {
        if self.cut.load(SeqCst) {
            return;
        }
        let Ok(mut far) = tokio::net::TcpStream::connect(to).await else { return };
        let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        loop {
            let moved = tokio::select! {
                read = near.read(&mut up) => match read {
                    Ok(count @ 1..) => {
                        let count_wide = count as u64;
                        if self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(count_wide)).is_err() {
                            self.cut.store(true, SeqCst);
                        }
                        far.write_all(&up[..count]).await
                    }
                    _ => return,
                },
                read = far.read(&mut down) => match read {
                    Ok(count @ 1..) => near.write_all(&down[..count]).await,
                    _ => return,
                },
                () = tokio::time::sleep(Duration::from_millis(20)) => Ok(()),
            };
            if moved.is_err() || self.cut.load(SeqCst) {
                return;
            }
        }
    }

    fn break_after(&self, bytes: u64) {
        self.left.store(bytes, SeqCst);
    }

    async fn is_cut(&self) {
        until("the wire is cut", async || Ok(self.cut.load(SeqCst).then_some(()))).await.unwrap();
    }

    fn mend(&self) {
        self.left.store(u64::MAX, SeqCst);
        self.cut.store(false, SeqCst);
    }
}

/// Fails unless the copies are the packs; with what is there instead.
fn same(copies: &Files, packs: &Files) {
    let sizes = |files: &Files| files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect::<Vec<_>>();
    assert_eq!(sizes(copies), sizes(packs));
    assert!(copies == packs, "copies differ");
}

/// Publishes a package that takes several parts.
async fn publish_large(rig: &Rig, label: &str) {
    let mut large = vec![0; LARGE];
    SmallRng::seed_from_u64(label.len() as u64 + u64::from(label.as_bytes()[12])).fill(&mut large[..]);
    let package: PathBuf = rig.dir.path().join(format!("{label}_PREP.zip"));
    let files = [("index.html", &b"<!doctype html>"[..], Some(6)), ("assets/large.bin", &large, None)];
    pack(&package, files.map(|(name, bytes, level)| (name.to_owned(), bytes, level))).unwrap();
    publish(&rig.mesh, &package, Request::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_survive_broken_wires_and_servers_that_are_killed() {
    let Ok(program) = std::env::var("DIFUSOR_S3_SERVER") else {
        return println!("without DIFUSOR_S3_SERVER there is no object store to copy to: see tests/replica/run");
    };
    let mut server = Server::start(&program).await;
    let wire = Wire::lay(server.at).await;
    let dir = TempDir::new().unwrap();
    let keys = dir.path().join("keys");
    fs::write(&keys, "aws_access_key_id = one\naws_secret_access_key = two\n").unwrap();
    let config = format!(
        "[replica]\nurl = \"{URL}\"\nendpoint = \"http://{}\"\nallow_http = true\ncredentials = \"{}\"\n",
        wire.at,
        keys.display()
    );
    let mut rig = Rig::start(dir, &config, "").await;
    rig.publish().await;
    rig.held(URL, 1).await;

    // The wire breaks in the middle of a pack. Nothing of it is listed, and publishing goes on.
    wire.break_after(BREAK);
    publish_large(&rig, "20990602_2200").await;
    wire.is_cut().await;
    assert_eq!(server.keys().len(), 1, "a part of a copy is listed");
    until("the status says so", async || Ok(rig.replica(URL).await.last_error.map(drop))).await.unwrap();
    publish_large(&rig, "20990602_2201").await;
    let before = server.objects(&keys).await;
    wire.mend();
    rig.held(URL, 3).await;
    same(&server.objects(&keys).await, &files(&rig.packs()));
    assert!(server.objects(&keys).await[0] == before[0]);

    // The server is killed in the middle of a pack, and comes back with nothing.
    wire.break_after(BREAK);
    publish_large(&rig, "20990602_2202").await;
    wire.is_cut().await;
    server.kill();
    wire.mend();
    until("the status says so", async || Ok(rig.replica(URL).await.last_error.map(drop))).await.unwrap();
    server.again().await;
    rig.held(URL, 4).await;
    same(&server.objects(&keys).await, &files(&rig.packs()));

    // And everything comes back from there.
    let archive = rig.archive().await;
    rig.while_down(async |coordinator| {
        fs::remove_dir_all(coordinator.dir().join("store")).unwrap();
        let config = coordinator.dir().join("coordinator.toml");
        let restored = command::run(command::of(PROGRAM, "coordinator", &config, &["restore", "--from", URL])).await;
        let said = restored.unwrap();
        assert!(said.is(0, &[]) && said.out.contains("4 packs fetched"), "{said:?}");
    })
    .await;
    assert!(rig.archive().await == archive, "the archive is another");
    rig.mesh.stop().await.unwrap();
}
