//! Connections to real servers: alone, with passwords, in a cluster, behind sentinels, and to nobody.

use redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{super::server, *};
use crate::log::redis::{server::Sentinels, trouble::Written};

const ANSWER: Duration = Duration::from_secs(5);

async fn to(url: &str) -> Result<Connected, LinkError> {
    connect(&Address::parse(url).unwrap(), ANSWER).await
}

async fn error_of(connected: &Connected, command: &[&str]) -> Trouble {
    let mut words = cmd(command[0]);
    words.arg(&command[1..]);
    let answer: Result<Value, _> = words.query_async(&mut connected.connection.clone()).await;
    classify(&answer.expect_err("refused"))
}

#[tokio::test]
async fn a_server_is_reached_with_its_password_and_not_without() {
    let open = server::Redis::start();
    let mut connected = to(&open.url()).await.unwrap();
    assert_eq!(connected.at, format!("127.0.0.1:{}", open.port()));
    let () = connected.connection.set("a", 1).await.unwrap();
    let other: Connected = to(&format!("{}/3", open.url())).await.unwrap();
    assert_eq!(other.connection.clone().exists::<_, bool>("a").await, Ok(false), "another database");

    let closed = server::Redis::start_with(&[("requirepass", "hu:sh")]);
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", closed.port());
    to(&url(":hu%3Ash@")).await.unwrap();
    to(&url("default:hu:sh@")).await.unwrap();
    for login in ["", ":wrong@", "nobody:hu:sh@"] {
        // Without a password the greeting itself is taken, so the first command says it.
        let trouble = match to(&url(login)).await {
            Ok(connected) => error_of(&connected, &["GET", "a"]).await,
            Err(error) => error.trouble,
        };
        assert_eq!(trouble.kind, Kind::NotSignedIn, "{login}: {trouble}");
        assert!(!trouble.to_string().contains("wrong") && trouble.needs_a_person(), "{trouble}");
    }
}

#[tokio::test]
async fn nobody_there_and_nobody_answering_are_told_apart_in_bounded_time() {
    let port = server::free_port();
    let error = to(&format!("redis://127.0.0.1:{port}")).await.err().expect("nobody there");
    assert_eq!((error.trouble.kind, error.trouble.written), (Kind::Unreachable, Written::No));
    assert!(error.to_string().starts_with(&format!("127.0.0.1:{port}: cannot be reached")), "{error}");
    let redis = server::Redis::start();
    redis.stop();
    let start = std::time::Instant::now();
    let error = to(&redis.url()).await.err().expect("it hangs");
    assert_eq!(error.trouble.kind, Kind::TimedOut, "{error}");
    assert!(start.elapsed() < CONNECT_MAX * 2);
    redis.go_on();
    let connected = to(&redis.url()).await.unwrap();
    redis.kill();
    let trouble = error_of(&connected, &["SET", "a", "1"]).await;
    assert_eq!((trouble.kind, trouble.written), (Kind::Ended, Written::Unknown), "{trouble}");
}

#[tokio::test]
async fn a_real_servers_errors_mean_what_the_table_says() {
    let redis = server::Redis::start();
    let connected = to(&redis.url()).await.unwrap();
    redis.command(&["SET", "text", "1"]);
    let kind = async |command: &[&str]| error_of(&connected, command).await;
    let check = |trouble: Trouble, expected: (Kind, Written)| {
        assert_eq!((trouble.kind, trouble.written), expected, "{trouble}");
    };
    check(kind(&["EVALSHA", "0000000000000000000000000000000000000000", "0"]).await, (Kind::NoScript, Written::No));
    check(kind(&["XLEN", "text"]).await, (Kind::WrongType, Written::No));
    let half = "redis.call('SET', KEYS[1], 'x') redis.call('XLEN', KEYS[2])";
    check(kind(&["EVAL", half, "2", "a", "text"]).await, (Kind::WrongType, Written::Unknown));
    assert_eq!(redis.command(&["GET", "a"]), "x", "a script is not all-or-nothing");

    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let write = "return redis.call('SET', KEYS[1], 'y')";
    check(kind(&["SET", "a", "y"]).await, (Kind::Full, Written::No));
    check(kind(&["EVAL", write, "1", "a"]).await, (Kind::Full, Written::No));
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    check(kind(&["SET", "a", "y"]).await, (Kind::FewReplicas, Written::No));
    check(kind(&["EVAL", write, "1", "a"]).await, (Kind::FewReplicas, Written::No));
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    check(kind(&["SET", "a", "y"]).await, (Kind::ReadOnly, Written::No));
    check(kind(&["EVAL", write, "1", "a"]).await, (Kind::ReadOnly, Written::No));
    redis.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    check(kind(&["GET", "a"]).await, (Kind::MasterDown, Written::No));
    redis.command(&["REPLICAOF", "NO", "ONE"]);

    // XADD is allowed, XACK is not: the script has written when it is stopped.
    redis.command(&["ACL", "SETUSER", "half", "on", ">p", "~*", "+@all", "-xack"]);
    let half = to(&format!("redis://half:p@127.0.0.1:{}", redis.port())).await.unwrap();
    check(error_of(&half, &["XACK", "s", "g", "1"]).await, (Kind::Forbidden, Written::No));
    let script = "redis.call('XADD', KEYS[1], '1-0', 'a', 'b') redis.call('XACK', KEYS[1], 'g', '1-0')";
    assert_eq!(error_of(&half, &["EVAL", script, "1", "s"]).await.written, Written::Unknown);
    assert_eq!(redis.command(&["XLEN", "s"]), "1");
}

#[tokio::test]
async fn in_a_cluster_the_node_with_the_logs_slot_is_found_before_and_after_a_move() {
    let cluster = server::Cluster::start();
    let address = Address::parse(&cluster.url()).unwrap();
    let key = address.key(0, "log");
    assert_eq!(slot(&key).to_string(), cluster.nodes()[0].command(&["CLUSTER", "KEYSLOT", &key]));
    let at = |node: usize| format!("127.0.0.1:{}", cluster.nodes()[node].port());
    let mut first = connect(&address, ANSWER).await.unwrap();
    assert_eq!(first.at, at(cluster.owner(&key)));
    let _id: String =
        cmd("XADD").arg(&key).arg("1-0").arg("k").arg("v").query_async(&mut first.connection).await.unwrap();
    let to = cluster.begin_move(&key);
    let missing = address.key(0, "meta");
    assert_eq!(error_of(&first, &["GET", &missing]).await.kind, Kind::Moving);
    cluster.migrate(&key, to, 100);
    cluster.finish_move(&key, to);
    let trouble = error_of(&first, &["XLEN", &key]).await;
    assert_eq!((trouble.kind, trouble.look_again()), (Kind::Moved, true));
    let mut second = connect(&address, ANSWER).await.unwrap();
    assert_eq!(second.at, at(to));
    assert_eq!(second.connection.xlen::<_, u64>(&key).await, Ok(1));
    // One of the seeds is away; another knows the way.
    let other = (0..3).find(|node| *node != to).unwrap();
    cluster.nodes()[other].kill();
    let seeds = format!("redis+cluster://{},{}", at(other), at(to));
    assert_eq!(super::tests::to(&seeds).await.unwrap().at, at(to));
}

#[tokio::test]
async fn behind_sentinels_the_new_master_is_found_after_the_old_one_died() {
    let sentinels = Sentinels::start_with(&[("requirepass", "hush"), ("masterauth", "hush")]);
    let url = sentinels.url().replace("://", "://:hush@");
    let first = to(&url).await.unwrap();
    assert_eq!(first.at, format!("127.0.0.1:{}", sentinels.master_port()));
    let old = sentinels.kill_master();
    let new = sentinels.wait_for_another(old);
    assert_eq!(to(&url).await.unwrap().at, format!("127.0.0.1:{new}"));
    sentinels.sentinels()[0].kill();
    assert_eq!(to(&url).await.unwrap().at, format!("127.0.0.1:{new}"), "the other two know it too");
    // One sentinel alone cannot switch: it keeps calling the server master that has just become a replica.
    sentinels.sentinels()[1].kill();
    sentinels.server(new).command(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = to(&url).await.err().expect("no master");
    assert!(error.trouble.kind == Kind::NoMaster && error.to_string().contains("it is a replica"), "{error}");
    let error = to(&url.replace("the-log", "no-log")).await.err().expect("unknown");
    assert_eq!(error.trouble.kind, Kind::NoMaster);
    assert!(error.to_string().contains("`no-log`"), "{error}");
}

#[tokio::test]
async fn with_tls_both_sides_show_who_they_are() {
    let file = |name: &str| format!("{}/tests/support/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let (ca, cert, key) = (file("ca.pem"), file("test.pem"), file("test.key"));
    let port = server::free_port().to_string();
    let tls =
        [("tls-port", port.as_str()), ("tls-cert-file", &cert), ("tls-key-file", &key), ("tls-ca-cert-file", &ca)];
    let redis = server::Redis::start_with(&tls);
    let url = |query: &str| format!("rediss://localhost:{port}/?{query}");
    let both = url(&format!("ca={ca}&cert={cert}&key={key}"));
    let mut connected = to(&both).await.unwrap();
    let pong: String = cmd("PING").query_async(&mut connected.connection).await.unwrap();
    assert_eq!(pong, "PONG");
    let raw = async |url: &str| {
        let address = Address::parse(url).unwrap();
        let Route::Server(host) = address.route.clone() else { panic!("a server") };
        stream(&address, &host).await
    };
    let ping = async |mut raw: Stream| -> std::io::Result<[u8; 7]> {
        let mut pong = [0; 7];
        raw.write_all(&command(&["PING"])).await?;
        raw.read_exact(&mut pong).await?;
        Ok(pong)
    };
    assert_eq!(&ping(raw(&both).await.unwrap()).await.unwrap(), b"+PONG\r\n");
    // It wants to see a certificate of ours unless told otherwise.
    let seen = match to(&url(&format!("ca={ca}"))).await {
        Ok(connected) => error_of(&connected, &["PING"]).await.kind,
        Err(error) => error.trouble.kind,
    };
    assert!(matches!(seen, Kind::Unreachable | Kind::Ended), "{seen:?}");
    let unseen = match raw(&url(&format!("ca={ca}"))).await {
        Ok(raw) => ping(raw).await.is_err(),
        Err(error) => matches!(error.trouble.kind, Kind::Unreachable | Kind::Ended),
    };
    assert!(unseen, "nor on a connection of our own");
    redis.command(&["CONFIG", "SET", "tls-auth-clients", "no"]);
    to(&url(&format!("ca={ca}"))).await.unwrap();
    let stranger = to(&url("")).await.err().expect("this machine does not know who signed it").to_string();
    assert!(stranger.contains("certificate"), "{stranger}");
    let other_name = both.replace("localhost", "127.0.0.1");
    assert!(to(&other_name).await.err().expect("not its name").to_string().contains("certificate"));
    for distrusted in [url(""), other_name] {
        let why = raw(&distrusted).await.err().expect("not trusted").to_string();
        assert!(why.contains("certificate"), "{why}");
    }
    let gone = to(&url("ca=/no/such/file")).await.err().expect("no file");
    assert!(gone.trouble.kind == Kind::BadSetup && gone.to_string().contains("/no/such/file"), "{gone}");
    let plain = to(&format!("redis://localhost:{port}")).await.err().expect("TLS there");
    assert!(matches!(plain.trouble.kind, Kind::Unreachable | Kind::Ended), "{plain}");
}

#[test]
fn slots_are_those_of_the_specification() {
    for (key, expected) in [("123456789", 12_739), ("foo", 12_182), ("{foo}bar", 12_182), ("{}foo", slot("{}foo"))] {
        assert_eq!(slot(key), expected, "{key}");
    }
    assert_ne!(slot("{}foo"), slot("{}bar"), "an empty tag is none");
}
