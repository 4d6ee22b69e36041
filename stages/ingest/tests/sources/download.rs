//! Downloads from a server on this machine: resuming, wrong sums, mirrors.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use ingest::download::{Archive, Sum, fetch};
use sha2::{Digest, Sha256};

/// How the server treats one request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Sends what was asked for.
    Whole,
    /// Promises everything, sends so many bytes and hangs up.
    Cut(usize),
    /// Sends the whole file whatever range was asked for.
    IgnoreRange,
    /// Sends other bytes of the same number.
    Wrong,
    /// An error status.
    Status(u16),
    /// Resumes elsewhere than asked.
    OtherRange,
    /// Sends twice the file.
    TooMuch,
    /// Sends the first thousand bytes as if they were all.
    TooLittle,
}

/// Answers one request after the other and tells which byte each asked to start at.
fn server(body: Vec<u8>, answers: Vec<Answer>) -> (String, Receiver<Option<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/data.tar.gz", listener.local_addr().unwrap());
    let (sender, starts) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let start = range_start(&stream);
            let _ = sender.send(start);
            let _ = respond(stream, &body, start, answer);
        }
    });
    (address, starts)
}

fn range_start(stream: &TcpStream) -> Option<usize> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let range = lines
        .map(|line| line.to_lowercase())
        .filter_map(|line| line.strip_prefix("range: bytes=").map(str::to_owned));
    range.last().map(|range| range.trim_end_matches('-').parse().unwrap())
}

fn respond(mut stream: TcpStream, body: &[u8], start: Option<usize>, answer: Answer) -> std::io::Result<()> {
    let wrong: Vec<u8> = body.iter().map(|byte| byte ^ 1).collect();
    let twice = [body, body].concat();
    let (status, range, sent) = match (answer, start) {
        (Answer::Status(code), _) => (format!("{code} Sorry"), String::new(), &body[..0]),
        (Answer::OtherRange, _) => {
            ("206 Partial Content".to_owned(), "Content-Range: bytes 7-9/10\r\n".to_owned(), &body[..3])
        }
        (Answer::TooLittle, _) => ("200 OK".to_owned(), String::new(), &body[..1000]),
        (Answer::TooMuch, _) => ("200 OK".to_owned(), String::new(), &twice[..]),
        (Answer::Wrong, _) => ("200 OK".to_owned(), String::new(), &wrong[..]),
        (Answer::Whole | Answer::Cut(_), Some(start)) => {
            let range = format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len());
            ("206 Partial Content".to_owned(), range, &body[start..])
        }
        _ => ("200 OK".to_owned(), String::new(), body),
    };
    let length = sent.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{range}Connection: close\r\n\r\n")?;
    stream.write_all(if let Answer::Cut(bytes) = answer { &sent[..bytes] } else { sent })
}

fn body() -> Vec<u8> {
    (0..1_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn archive(body: &[u8], mirrors: &[&str]) -> Archive {
    Archive {
        homepage: "nowhere".to_owned(),
        license: "none".to_owned(),
        file: "data.tar.gz".to_owned(),
        bytes: Some(body.len() as u64),
        sum: Sum::Sha256(sha256(body)),
        mirrors: mirrors.iter().map(|mirror| (*mirror).to_owned()).collect(),
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_whole(folder: &Path) {
    assert_eq!(std::fs::read(folder.join("data.tar.gz")).unwrap(), body());
    assert!(!folder.join("data.tar.gz.part").exists());
}

#[test]
fn a_whole_file_arrives_and_is_not_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let (address, starts) = server(body(), vec![Answer::Whole]);
    let archive = archive(&body(), &[&address]);
    let path = fetch(&archive, dir.path()).unwrap();
    assert_eq!(path, dir.path().join("data.tar.gz"));
    assert_eq!(fetch(&archive, dir.path()).unwrap(), path);
    assert_whole(dir.path());
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [None]);
}

#[test]
fn a_broken_connection_is_taken_up_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (address, starts) = server(body(), vec![Answer::Cut(300_000), Answer::Cut(200_000), Answer::Whole]);
    fetch(&archive(&body(), &[&address]), dir.path()).unwrap();
    assert_whole(dir.path());
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [None, Some(300_000), Some(500_000)]);
}

#[test]
fn what_an_earlier_run_left_is_used() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data.tar.gz.part"), &body()[..123_456]).unwrap();
    let (address, starts) = server(body(), vec![Answer::Whole]);
    fetch(&archive(&body(), &[&address]), dir.path()).unwrap();
    assert_whole(dir.path());
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [Some(123_456)]);
}

#[test]
fn a_server_that_cannot_resume_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data.tar.gz.part"), b"leftover").unwrap();
    let (address, _starts) = server(body(), vec![Answer::IgnoreRange]);
    fetch(&archive(&body(), &[&address]), dir.path()).unwrap();
    assert_whole(dir.path());
}

#[test]
fn a_wrong_leftover_is_found_by_its_sum_and_fetched_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data.tar.gz.part"), vec![7; 1000]).unwrap();
    let (address, starts) = server(body(), vec![Answer::Whole, Answer::Whole]);
    fetch(&archive(&body(), &[&address]), dir.path()).unwrap();
    assert_whole(dir.path());
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [Some(1000), None]);
}

#[test]
fn the_next_mirror_is_asked_after_a_wrong_sum_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (gone, _) = server(body(), vec![Answer::Status(404)]);
    let (wrong, _) = server(body(), vec![Answer::Wrong]);
    let (good, starts) = server(body(), vec![Answer::Whole]);
    fetch(&archive(&body(), &[&gone, &wrong, &good]), dir.path()).unwrap();
    assert_whole(dir.path());
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [None], "wrong bytes are not kept");
}

#[test]
fn when_all_mirrors_fail_each_is_named_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (gone, _) = server(body(), vec![Answer::Status(503)]);
    let (wrong, _) = server(body(), vec![Answer::Wrong]);
    let archive = archive(&body(), &[&gone, &wrong]);
    let (found, expected) = (sha256(&body().iter().map(|b| b ^ 1).collect::<Vec<u8>>()), sha256(&body()));
    assert_eq!(
        fetch(&archive, dir.path()).unwrap_err().to_string(),
        format!(
            "data.tar.gz could not be downloaded: {gone}: answered HTTP status 503; {wrong}: sent a file of SHA-256 \
             {found}, expected {expected}; what has arrived is kept and the next run resumes from there; or fetch the file \
             yourself and give DATA=path"
        )
    );
    assert!(!dir.path().join("data.tar.gz").exists());
}

#[test]
fn without_a_published_size_the_sum_decides() {
    let dir = tempfile::tempdir().unwrap();
    let (address, starts) = server(body(), vec![Answer::Cut(300_000), Answer::Whole, Answer::TooLittle]);
    // md5sum of the body
    let sum = Sum::Md5("3daeab5bbad4d9d4764300c445051dd8".to_owned());
    let archive = Archive { bytes: None, sum, ..archive(&body(), &[&address]) };
    fetch(&archive, dir.path()).unwrap();
    assert_whole(dir.path());
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [None, Some(300_000)]);
    std::fs::remove_file(dir.path().join("data.tar.gz")).unwrap();
    let message = fetch(&archive, dir.path()).unwrap_err().to_string();
    assert!(message.contains("sent a file of MD5"), "{message}");
}

#[test]
fn a_file_of_another_size_in_its_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.tar.gz");
    std::fs::write(&path, b"short").unwrap();
    let error = fetch(&archive(&body(), &["http://127.0.0.1:1/data.tar.gz"]), dir.path()).unwrap_err();
    let expected = format!("{}: has 5 bytes, expected 1000000; remove it and run again", path.display());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn each_way_a_mirror_can_fail_has_its_words() {
    let failures = [
        (vec![Answer::Status(416); 4], "does not resume at byte 0"),
        (vec![Answer::OtherRange; 4], "does not resume at byte 0"),
        (vec![Answer::TooMuch], "sent more than the expected 1000000 bytes"),
        (vec![Answer::TooLittle; 4], "sent 1000 of 1000000 bytes"),
    ];
    for (answers, reason) in failures {
        let dir = tempfile::tempdir().unwrap();
        let (address, _starts) = server(body(), answers);
        let message = fetch(&archive(&body(), &[&address]), dir.path()).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "data.tar.gz could not be downloaded: {address}: {reason}; what has arrived is kept and the next run resumes \
                 from there; or fetch the file yourself and give DATA=path"
            )
        );
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
    std::fs::write(&file, b"").unwrap();
    std::fs::create_dir_all(folder.join("data.tar.gz.part")).unwrap();
    let archive = archive(&body(), &["http://127.0.0.1:1/data.tar.gz"]);
    for (folder, named) in [(file.clone(), file), (folder.clone(), folder.join("data.tar.gz.part"))] {
        let message = fetch(&archive, &folder).unwrap_err().to_string();
        assert_eq!(message, format!("{}: cannot be written", named.display()));
    }
}
