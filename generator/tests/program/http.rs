use std::{
    collections::HashMap,
    panic,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, time::Instant};

use crate::{PATIENCE, START, end, run, start, start_with, terminate};

/// What the server does with a POST.
#[derive(Clone, Copy, Debug)]
enum Does {
    Take,
    /// Answers this status without taking the batch.
    Answer(StatusCode, &'static str),
    /// 503 with `Retry-After`.
    AskForPatience(&'static str),
    /// Closes the connection without taking the batch.
    Vanish,
    /// Takes the batch and closes the connection: the answer is lost.
    TakeAndVanish,
    /// Takes the batch, rejects its first record.
    RejectOne(StatusCode),
    /// Answers after this time.
    Wait(Duration),
}

/// A POST as it came.
#[derive(Clone, Debug)]
struct Post {
    producer: String,
    sequence: u64,
    headers: HeaderMap,
    body: Bytes,
    at: Instant,
}

impl Post {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// An ingest that fails as told and drops what it has taken before, as the real one does.
struct Ingest {
    script: Box<dyn Fn(usize) -> Does + Send + Sync>,
    tries: Mutex<Vec<Post>>,
    taken: Mutex<Vec<Post>>,
    newest: Mutex<HashMap<String, u64>>,
    in_flight: AtomicUsize,
    seen: watch::Sender<usize>,
}

impl Ingest {
    async fn serve(script: impl Fn(usize) -> Does + Send + Sync + 'static) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ingest", listener.local_addr().unwrap());
        (Self::serve_on(listener, script), url)
    }

    fn serve_on(
        listener: TcpListener,
        script: impl Fn(usize) -> Does + Send + Sync + 'static,
    ) -> Arc<Self> {
        let ingest = Arc::new(Self {
            script: Box::new(script),
            tries: Mutex::default(),
            taken: Mutex::default(),
            newest: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            seen: watch::Sender::new(0),
        });
        let router = Router::new()
            .route("/ingest", post(take))
            .with_state(Arc::clone(&ingest));
        tokio::spawn(async move { axum::serve(listener, router).await });
        ingest
    }

    fn tries(&self) -> Vec<Post> {
        self.tries.lock().unwrap().clone()
    }

    /// All bytes taken, as one NDJSON text.
    fn taken(&self) -> Vec<u8> {
        let taken = self.taken.lock().unwrap();
        taken
            .iter()
            .flat_map(|post| [post.body.trim_ascii_end(), b"\n"].concat())
            .collect()
    }

    async fn has_seen(&self, posts: usize) {
        let mut seen = self.seen.subscribe();
        tokio::time::timeout(PATIENCE, seen.wait_for(|n| *n >= posts))
            .await
            .expect("more POSTs")
            .unwrap();
    }

    fn keep(&self, post: Post) {
        let mut newest = self.newest.lock().unwrap();
        let newest = newest.entry(post.producer.clone()).or_default();
        if post.sequence > *newest {
            *newest = post.sequence;
            self.taken.lock().unwrap().push(post);
        }
    }
}

async fn take(State(ingest): State<Arc<Ingest>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(
        ingest.in_flight.fetch_add(1, SeqCst),
        0,
        "one POST is in flight at a time"
    );
    let text = |name| headers.get(name).unwrap().to_str().unwrap().to_owned();
    let sequence = text("sequence").parse().unwrap();
    let post = Post {
        producer: text("producer-id"),
        sequence,
        headers,
        body,
        at: Instant::now(),
    };
    let records = post.body.trim_ascii_end().split(|b| *b == b'\n').count();
    let does = {
        let mut tries = ingest.tries.lock().unwrap();
        tries.push(post.clone());
        (ingest.script)(tries.len() - 1)
    };
    ingest.seen.send_modify(|n| *n += 1);
    if let Does::Wait(time) = does {
        tokio::time::sleep(time).await;
    }
    // The panic hook is left out: only the connection ends.
    let vanish = || -> Response { panic::resume_unwind(Box::new("gone")) };
    ingest.in_flight.fetch_sub(1, SeqCst);
    let report = |rejected| {
        let error = json!({"index": 0, "field": "volume", "rule": "not negative", "message": "volume is -1"});
        let errors = vec![error; rejected];
        json!({"accepted": records - rejected, "rejected": rejected, "errors": errors}).to_string()
    };
    match does {
        Does::Take | Does::Wait(_) => {
            ingest.keep(post);
            report(0).into_response()
        }
        Does::RejectOne(status) => {
            ingest.keep(post);
            (status, report(1)).into_response()
        }
        Does::Answer(status, body) => (status, body).into_response(),
        Does::AskForPatience(seconds) => (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, seconds)],
            "busy",
        )
            .into_response(),
        Does::Vanish => vanish(),
        Does::TakeAndVanish => {
            ingest.keep(post);
            vanish()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_server_loses_nothing_and_gets_nothing_twice() {
    let (ingest, url) = Ingest::serve(|n| match n % 11 {
        1 => Does::AskForPatience("0"),
        3 => Does::Vanish,
        5 => Does::TakeAndVanish,
        7 => Does::Answer(StatusCode::INTERNAL_SERVER_ERROR, "oops"),
        8 => Does::Answer(StatusCode::TOO_MANY_REQUESTS, ""),
        _ => Does::Take,
    })
    .await;
    let market = format!("--start-time {START} --rate 0 --count 1990 --symbols 20");
    let ended = run(&format!("--to {url} --batch 50 {market}")).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(
        ingest.taken() == run(&format!("--to - {market}")).await.stdout,
        "the records taken are not the market's"
    );
    let tries = ingest.tries();
    assert!(tries.len() > 60, "{} tries", tries.len());
    let mut bodies: HashMap<u64, Bytes> = HashMap::new();
    for post in &tries {
        assert_eq!(post.producer, tries[0].producer);
        assert_eq!(
            bodies.entry(post.sequence).or_insert(post.body.clone()),
            &post.body
        );
    }
    assert!(tries.is_sorted_by_key(|post| post.sequence));
    assert_eq!(bodies.keys().max(), Some(&40));
    assert_eq!(
        (
            ended.total("sent"),
            ended.total("accepted"),
            ended.total("rejected")
        ),
        (1990, 1990, 0)
    );
    assert!(
        ended.stderr.contains("not taken, will send the same again"),
        "{}",
        ended.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_server_that_is_not_there_yet() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let child = start(&format!(
        "--to http://{address}/ingest --count 10 --rate 0 --start-time {START}"
    ));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ingest = Ingest::serve_on(TcpListener::bind(address).await.unwrap(), |_| Does::Take);
    let ended = end(child).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(ingest.taken().split(|b| *b == b'\n').count(), 10 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let (ingest, url) = Ingest::serve(|n| {
        if n == 0 {
            Does::AskForPatience("1")
        } else {
            Does::Take
        }
    })
    .await;
    run(&format!(
        "--to {url} --count 10 --rate 0 --start-time {START}"
    ))
    .await;
    let tries = ingest.tries();
    assert_eq!(tries.len(), 2);
    assert!(tries[1].at - tries[0].at >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_ends_it_with_the_reason() {
    let problem = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"token has no scope \"ingest\""}"#;
    let (ingest, url) =
        Ingest::serve(move |_| Does::Answer(StatusCode::UNAUTHORIZED, problem)).await;
    let ended = run(&format!("--to {url} --count 3 --rate 0")).await;
    assert_eq!(ended.status.code(), Some(1));
    let expected = format!("{url} answered 401 Unauthorized: token has no scope \"ingest\"");
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
    assert_eq!(ingest.tries().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_records_are_counted_and_shown() {
    let (_, url) = Ingest::serve(|_| Does::RejectOne(StatusCode::OK)).await;
    let ended = run(&format!(
        "--to {url} --count 30 --batch 10 --rate 0 --start-time {START}"
    ))
    .await;
    assert!(ended.status.success());
    assert_eq!((ended.total("accepted"), ended.total("rejected")), (27, 3));
    assert!(ended.stderr.contains("volume is -1"), "{}", ended.stderr);
    let (_, url) = Ingest::serve(|_| Does::RejectOne(StatusCode::UNPROCESSABLE_ENTITY)).await;
    let ended = run(&format!(
        "--to {url} --count 3 --batch 1 --rate 0 --start-time {START}"
    ))
    .await;
    assert_eq!((ended.total("accepted"), ended.total("rejected")), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_report_is_served_too() {
    let (_, url) = Ingest::serve(|_| Does::Answer(StatusCode::OK, "thanks")).await;
    let ended = run(&format!(
        "--to {url} --count 30 --batch 10 --rate 0 --start-time {START}"
    ))
    .await;
    assert_eq!(
        (
            ended.total("sent"),
            ended.total("accepted"),
            ended.total("rejected")
        ),
        (30, 30, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_goes_as_json_and_several_as_ndjson() {
    let (ingest, url) = Ingest::serve(|_| Does::Take).await;
    let args = format!("--to {url} --start-time {START} --rate 0 --count 4");
    run(&format!("{args} --batch 1 --producer-id desk-7")).await;
    end(start_with(
        &format!("{args} --batch 4"),
        &[("WIGWAG_GENERATOR_TOKEN", "s3cret")],
    ))
    .await;
    let tries = ingest.tries();
    assert_eq!(tries.len(), 5);
    for post in &tries[..4] {
        assert_eq!(post.header("content-type"), "application/json");
        assert_eq!(post.header("authorization"), "");
        assert_eq!(post.producer, "desk-7");
        // A name may have been used before, so its numbers begin at the clock.
        assert!(post.sequence > 1_700_000_000_000_000);
        assert!(
            serde_json::from_slice::<Value>(&post.body)
                .unwrap()
                .is_object()
        );
        assert!(post.body.ends_with(b"}"));
    }
    assert_eq!(tries[4].header("content-type"), "application/x-ndjson");
    assert_eq!(tries[4].header("authorization"), "Bearer s3cret");
    assert_eq!(tries[4].body.iter().filter(|b| **b == b'\n').count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_ticks_come_at_their_rate_and_never_from_the_future() {
    let (ingest, url) = Ingest::serve(|_| Does::Take).await;
    let begun = Instant::now();
    let ended = run(&format!(
        "--to {url} --rate 200 --count 200 --kinds stock_price"
    ))
    .await;
    assert!(
        begun.elapsed() >= Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the clock on purpose"
    )]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let sent_us: Vec<i64> = ingest
        .taken()
        .split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice::<Value>(line).unwrap()["timestamp"]
                .as_f64()
                .unwrap()
        })
        .map(|s| (s * 1e6).round() as i64)
        .collect();
    assert_eq!((sent_us.len() as u64, ended.total("accepted")), (200, 200));
    assert!(
        sent_us.windows(2).all(|pair| pair[1] - pair[0] == 5_000),
        "ticks lie 5 ms apart"
    );
    let newest = *sent_us.last().unwrap() as f64 / 1e6;
    assert!(newest <= now && now - newest < 30.0, "{newest} at {now}");
    // On the grid that began at midnight, whoever looks.
    assert!(sent_us.iter().all(|us| us % 5_000 == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_in_the_market_that_replicas_show() {
    let (replica, replica_url) = Ingest::serve(|_| Does::Take).await;
    let (restarted, restarted_url) = Ingest::serve(|_| Does::Take).await;
    let market = "--rate 500 --seed 3";
    let child = start(&format!("--to {replica_url} {market}"));
    replica.has_seen(1).await;
    for _ in 0..2 {
        run(&format!("--to {restarted_url} {market} --count 100")).await;
    }
    let seen = replica.tries().len();
    // What was due by now has arrived when more has.
    replica.has_seen(seen + 3).await;
    terminate(child).await;
    let all = String::from_utf8(replica.taken()).unwrap();
    let all: Vec<&str> = all.lines().collect();
    let part = String::from_utf8(restarted.taken()).unwrap();
    let part: Vec<&str> = part.lines().collect();
    assert_eq!(part.len(), 200);
    for run in part.chunks(100) {
        assert!(
            all.windows(100).any(|window| window == run),
            "{run:?} is not in {all:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_the_post_in_hand_finish() {
    let (ingest, url) = Ingest::serve(|_| Does::Wait(Duration::from_millis(600))).await;
    let child = start(&format!(
        "--to {url} --rate 0 --batch 10 --start-time {START}"
    ));
    ingest.has_seen(2).await;
    let (ended, took) = terminate(child).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!((ingest.tries().len(), ended.total("accepted")), (2, 20));
    assert_eq!(ended.total("sent"), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_within_two_seconds_whatever_the_server_does() {
    for does in [Does::Wait(PATIENCE), Does::AskForPatience("60")] {
        let (ingest, url) = Ingest::serve(move |_| does).await;
        let child = start(&format!(
            "--to {url} --rate 0 --batch 10 --start-time {START}"
        ));
        ingest.has_seen(1).await;
        let (ended, took) = terminate(child).await;
        assert!(ended.status.success(), "{}", ended.stderr);
        assert!(took < Duration::from_secs(2), "{does:?}: {took:?}");
        assert_eq!((ended.total("sent"), ended.total("accepted")), (10, 0));
        assert!(ended.stderr.contains("WARN ended "), "{}", ended.stderr);
    }
}
