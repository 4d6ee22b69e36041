//! A team's store in the cloud: what one machine has made, another has. Real servers are started: of S3 where
//! `DELT_MOTO_PYTHON` names a Python with moto (`make test-s3`), of Azure's blobs where `DELT_AZURITE` names a folder in which
//! npm has installed Azurite (`make test-azure`); where there is none, a test says that it is skipped.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use delt_tests::binaries::{Run, STAGES, program};
use tempfile::TempDir;

/// Azurite's account, which is published and the same everywhere.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server on a port of its own, with an empty bucket (container) `team`.
struct Server {
    process: Child,
    port: u16,
    kind: Kind,
    _data: TempDir,
}

#[derive(Clone, Copy)]
enum Kind {
    S3,
    Azure,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Those that are installed.
    fn all() -> impl Iterator<Item = Self> {
        let of = |kind, variable| std::env::var_os(variable).map(|place| (kind, PathBuf::from(place)));
        let places = [of(Kind::S3, "DELT_MOTO_PYTHON"), of(Kind::Azure, "DELT_AZURITE")];
        if places.iter().all(Option::is_none) {
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no server of object storage; `make test-s3` fetches moto from PyPI, `make test-azure` Azurite from npm"
            );
        }
        places.into_iter().flatten().map(|(kind, place)| Self::start(kind, &place))
    }

    fn start(kind: Kind, place: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let data = tempfile::tempdir().unwrap();
        let mut command = match kind {
            Kind::S3 => {
                let mut command = Command::new(place.parent().unwrap().join("moto_server"));
                command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
                command
            }
            Kind::Azure => {
                let mut command = Command::new(place.join("node_modules/.bin/azurite-blob"));
                command.args([
                    "--silent",
                    "--disableTelemetry",
                    "--skipApiVersionCheck",
                    "--blobPort",
                    &port.to_string(),
                ]);
                command.arg("--location").arg(data.path());
                command
            }
        };
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { process, port, kind, _data: data };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        match kind {
            Kind::S3 => assert!(server.request("PUT", "/team").starts_with("HTTP/1.1 200")),
            Kind::Azure => {
                let script = format!(
                    "require('@azure/storage-blob').BlobServiceClient.fromConnectionString('AccountName={AZURE_ACCOUNT};\
                     AccountKey={AZURE_KEY};DefaultEndpointsProtocol=http;BlobEndpoint={};')\
                     .getContainerClient('team').create()",
                    server.azure_endpoint()
                );
                let made = Command::new("node").current_dir(place).args(["-e", &script]).status().unwrap();
                assert!(made.success());
            }
        }
        server
    }

    /// The team's store.
    fn url(&self) -> &'static str {
        match self.kind {
            Kind::S3 => "s3://team/delt",
            Kind::Azure => "az://team/delt",
        }
    }

    fn azure_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{AZURE_ACCOUNT}", self.port)
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
        command.env("DELT_CACHE", cache);
        match self.kind {
            Kind::S3 => command
                .env("AWS_ACCESS_KEY_ID", "key")
                .env("AWS_SECRET_ACCESS_KEY", "secret")
                .env("AWS_REGION", "us-east-1")
                .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
                .env("AWS_ALLOW_HTTP", "true"),
            Kind::Azure => command
                .env("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT)
                .env("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY)
                .env("AZURE_ENDPOINT", self.azure_endpoint())
                .env("AZURE_ALLOW_HTTP", "true"),
        }
    }

    fn stage(&self, run: &Run, cache: &Path, stage: &str, arguments: &[&str]) -> String {
        let output = self.machine(&mut run.command_in(self.url(), stage, arguments), cache).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stage} failed: {stderr}");
        stderr
    }

    fn delt_store(&self, cache: &Path, arguments: &[&str]) -> (String, String) {
        let output = self
            .machine(program("delt-store").args(["--store", self.url()]).args(arguments), cache)
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
    for server in Server::all() {
        recompute_nothing(&server);
    }
}

fn recompute_nothing(server: &Server) {
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
    // the notes that machine A took stand below the table of machine C
    let mut table = run.command_in(server.url(), "evaluate", &["--branch", "delt"]);
    let table = server.machine(&mut table, &third).output().unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("note: dataset: 400 of 1258 training"), "{table}");
    let (whole, needed) = (bytes_below(&second), bytes_below(&third));
    assert!(needed * 10 < whole, "{needed} of {whole} bytes were downloaded to find that all is there");

    // the same bytes as in a folder
    let folder = Run::new();
    folder.up_to("evaluate", &["--branch", "delt"]);
    let (path, _) = server.delt_store(&third, &["path", "tiny/delt/evaluation"]);
    let summary = std::fs::read(Path::new(path.trim()).join("summary.json")).unwrap();
    let expected = folder.pointed("tiny/delt/evaluation", "evaluation").0.join("summary.json");
    assert_eq!(String::from_utf8_lossy(&summary), String::from_utf8_lossy(&std::fs::read(expected).unwrap()));

    // and a machine whose disk is empty takes the same files elsewhere
    let exports = ["bucket", "folder"].map(|name| machines.path().join(name));
    let arguments = exports
        .each_ref()
        .map(|output| ["--branch", "delt", "--format", "huggingface", "--output", output.to_str().unwrap()]);
    server.stage(&run, &machines.path().join("d"), "export", &arguments[0]);
    folder.stage("export", &arguments[1]);
    for file in ["README.md", "delt-export.json", "data/train-00000-of-00001.parquet"] {
        let [bucket, folder] = exports.each_ref().map(|export| std::fs::read(export.join(file)).unwrap());
        assert!(bucket == folder, "{file} differs");
    }

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
    for server in Server::all() {
        share_the_work(&server);
    }
}

fn share_the_work(server: &Server) {
    let (run, machines) = (Run::new(), tempfile::tempdir().unwrap());
    let caches = ["a", "b"].map(|name| machines.path().join(name));
    for stage in STAGES {
        let children = caches.each_ref().map(|cache| {
            let mut command = run.command_in(server.url(), stage, &["--branch", "delt", "-v"]);
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
    for server in Server::all() {
        name_the_bucket(&server);
    }
}

fn name_the_bucket(server: &Server) {
    let (run, cache) = (Run::new(), tempfile::tempdir().unwrap());
    let failed = |url: &str| {
        let mut command = run.command_in(url, "ingest", &[]);
        let output = server.machine(&mut command, cache.path()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (url, problem) = match server.kind {
        Kind::S3 => ("s3://nobody/delt", "NoSuchBucket"),
        Kind::Azure => ("az://nobody/delt", "ContainerNotFound"),
    };
    let said = failed(url);
    assert!(said.contains(&format!("{url}/")) && said.contains(problem), "{said}");
    let said = failed("ftp://host/x");
    assert!(said.contains("`ftp://host/x`: no such kind of store"), "{said}");
}
