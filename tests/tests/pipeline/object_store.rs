//! A team's store in S3: what one machine has made, another has. A real S3 server is started where `DELT_MOTO_PYTHON` names
//! a Python with moto (`make test-s3`), else the test says that it is skipped.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use delt_tests::binaries::{Run, STAGES, program};

const URL: &str = "s3://team/delt";

/// moto's S3 server on a port of its own, with an empty bucket.
struct Server {
    process: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("DELT_MOTO_PYTHON").map(PathBuf::from) else {
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no S3 server; `make test-s3` fetches moto from PyPI and runs this"
            );
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(python.parent().unwrap().join("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(server.request("PUT", "/team").starts_with("HTTP/1.1 200"));
        Some(server)
    }

    /// What the server answers to a request without a body.
    fn request(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A program as a machine of the team runs it: with credentials in its environment and a folder of its own.
    fn machine<'a>(&self, command: &'a mut Command, cache: &Path) -> &'a mut Command {
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ALLOW_HTTP", "true")
            .env("DELT_CACHE", cache)
    }

    fn stage(&self, run: &Run, cache: &Path, stage: &str, arguments: &[&str]) -> String {
        let output = self.machine(&mut run.command_in(URL, stage, arguments), cache).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stage} failed: {stderr}");
        stderr
    }

    fn delt_store(&self, cache: &Path, arguments: &[&str]) -> (String, String) {
        let output = self
            .machine(program("delt-store").args(["--store", URL]).args(arguments), cache)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => bytes_below(&entry.path()),
        metadata => metadata.len(),
    };
    entries.map(|entry| size(entry.unwrap())).sum()
}

#[test]
fn a_second_machine_recomputes_nothing_that_the_first_has_made() {
    let Some(server) = Server::start() else { return };
    let (run, machines) = (Run::new(), tempfile::tempdir().unwrap());
    let (first, second, third) =
        (machines.path().join("a"), machines.path().join("b"), machines.path().join("c"));

    // machine A trains the teacher
    for stage in ["ingest", "teacher-train"] {
        server.stage(&run, &first, stage, &[]);
    }
    // machine B, whose disk is empty, makes the rest and no teacher
    for stage in STAGES {
        let said = server.stage(&run, &second, stage, &["--branch", "delt"]);
        let is_cached = said.starts_with(&format!("{stage}: cached: "));
        assert_eq!(is_cached, ["ingest", "teacher-train"].contains(&stage), "{said}");
    }
    // machine A has all of it, and so has machine C, which downloads what it reads and nothing else
    for (machine, shards) in [(&first, &[][..]), (&third, &["--shards", "4"][..])] {
        for stage in STAGES {
            let more =
                if ["init-select", "delt-synthesize", "relabel"].contains(&stage) { shards } else { &[] };
            let said = server.stage(&run, machine, stage, &[&["--branch", "delt"], more].concat());
            assert!(said.starts_with(&format!("{stage}: cached: ")), "{said}");
        }
    }
    let (whole, needed) = (bytes_below(&second), bytes_below(&third));
    assert!(needed * 10 < whole, "{needed} of {whole} bytes were downloaded to find that all is there");

    // the same bytes as in a folder
    let folder = Run::new();
    folder.up_to("evaluate", &["--branch", "delt"]);
    let (path, _) = server.delt_store(&third, &["path", "tiny/delt/evaluation"]);
    let summary = std::fs::read(Path::new(path.trim()).join("summary.json")).unwrap();
    let expected = folder.pointed("tiny/delt/evaluation", "evaluation").0.join("summary.json");
    assert_eq!(String::from_utf8_lossy(&summary), String::from_utf8_lossy(&std::fs::read(expected).unwrap()));

    let (listed, _) = server.delt_store(&third, &["ls"]);
    assert_eq!(listed.lines().count(), 1 + 8, "{listed}");
    let (_, verified) = server.delt_store(&third, &["verify"]);
    assert_eq!(verified, "8 whole, 0 damaged\n");
    let (_, cleaned) = server.delt_store(&third, &["clean", "tiny"]);
    assert!(cleaned.ends_with("0 artifacts stay\n"), "{cleaned}");
    // what a machine still has it shares again
    let said = server.stage(&run, &first, "ingest", &["--branch", "delt"]);
    assert!(said.starts_with("ingest: cached: "), "{said}");
    assert_eq!(server.delt_store(&third, &["ls"]).0.lines().count(), 2);
}

#[test]
fn two_machines_at_once_share_the_work() {
    let Some(server) = Server::start() else { return };
    let (run, machines) = (Run::new(), tempfile::tempdir().unwrap());
    let caches = ["a", "b"].map(|name| machines.path().join(name));
    for stage in STAGES {
        let children = caches.each_ref().map(|cache| {
            let mut command = run.command_in(URL, stage, &["--branch", "delt"]);
            server.machine(&mut command, cache).stderr(Stdio::piped()).spawn().unwrap()
        });
        let said = children.map(|child| {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{stage}: {said}");
            said
        });
        let made = |said: &String| said.contains(&format!("{stage}: configuration"));
        let makers = said.iter().filter(|said| made(said)).count();
        // init-select makes two artifacts, of which each machine may make one
        assert!((1..=if stage == "init-select" { 2 } else { 1 }).contains(&makers), "{stage}: {said:?}");
    }
}

#[test]
fn a_bucket_that_cannot_be_reached_or_used_is_named() {
    let Some(server) = Server::start() else { return };
    let (run, cache) = (Run::new(), tempfile::tempdir().unwrap());
    let failed = |url: &str| {
        let mut command = run.command_in(url, "ingest", &[]);
        let output = server.machine(&mut command, cache.path()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = failed("s3://nobody/delt");
    assert!(said.contains("s3://nobody/delt/") && said.contains("NoSuchBucket"), "{said}");
    let said = failed("ftp://host/x");
    assert!(said.contains("`ftp://host/x`: no such kind of store"), "{said}");
}
