// tokio-postgres: prepared statements, pipelines, portals, transactions, COPY, LISTEN, cancel.
use futures_util::{future, pin_mut, stream, SinkExt, StreamExt, TryStreamExt};
use std::time::Duration;
use tokio_postgres::{error::SqlState, AsyncMessage, Client, Config, Error, IsolationLevel, NoTls, SimpleQueryMessage};

fn config() -> Config {
    let var = |name: &str| std::env::var(name).unwrap();
    let mut c = Config::new();
    c.host(&var("PGHOST")).port(var("PGPORT").parse().unwrap()).user(&var("PGUSER")).password(var("PGPASSWORD")).dbname(&var("PGDATABASE"));
    c
}

// What the server says without being asked comes by the channel.
async fn connect_with(config: Config) -> (Client, futures_channel::Receiver) {
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(m)) = messages.next().await {
            if let AsyncMessage::Notification(n) = m {
                let _ = tx.send(format!("{} {}", n.channel(), n.payload()));
            }
        }
    });
    (client, rx)
}

mod futures_channel {
    pub type Receiver = tokio::sync::mpsc::UnboundedReceiver<String>;
}

async fn connect() -> Client {
    connect_with(config()).await.0
}

fn code<T>(r: Result<T, Error>) -> String {
    match r {
        Ok(_) => "no error".to_string(),
        Err(e) => e.code().map(SqlState::code).unwrap_or("no code").to_string(),
    }
}

async fn balance(c: &impl tokio_postgres::GenericClient, id: i32) -> i64 {
    c.query_one("SELECT balance FROM accounts WHERE id = $1", &[&id]).await.unwrap().get(0)
}

#[tokio::main]
async fn main() {
    let mut c = connect().await;
    println!("== queries");
    let row = c.query_one("SELECT $1::text || 'b', 2::int8", &[&"a"]).await.unwrap();
    println!("{} {}", row.get::<_, String>(0), row.get::<_, i64>(1));
    let read = c.prepare("SELECT balance FROM accounts WHERE id = $1").await.unwrap();
    println!("{:?} {:?}", read.params(), read.columns().iter().map(|c| (c.name(), c.type_().name())).collect::<Vec<_>>());
    for i in 0..50i64 {
        c.execute("UPDATE accounts SET balance = $1 WHERE id = 50", &[&i]).await.unwrap();
        let got: i64 = c.query_one(&read, &[&50i32]).await.unwrap().get(0);
        if got != i {
            println!("own write not read: {got} instead of {i}");
        }
    }
    for m in c.simple_query("SELECT 1 AS a; UPDATE accounts SET balance = 7 WHERE id = 51; SELECT NULL AS b").await.unwrap() {
        match m {
            SimpleQueryMessage::Row(r) => println!("row {:?}", r.get(0)),
            SimpleQueryMessage::CommandComplete(n) => println!("complete {n}"),
            _ => {}
        }
    }
    for t in ["SELECT nothing", "SELECT 1/0", "INSERT INTO accounts VALUES (1, 'x', 1)", "SELEC", "SELECT * FROM nowhere"] {
        print!("{} {} ", code(c.batch_execute(t).await), code(c.query(t, &[]).await));
    }
    println!("{}", code(c.query("SELECT $1::int", &[&"not an int"]).await));

    println!("== pipelines");
    let owners = future::join_all((1..=40i32).map(|i| {
        let (c, sql) = (&c, "SELECT owner FROM accounts WHERE id = $1");
        async move { c.query_one(sql, &[&i]).await.unwrap().get::<_, String>(0) }
    }))
    .await;
    println!("{}", owners.join(" "));
    let bad = c.prepare("SELECT 10 / $1::int").await.unwrap();
    let results = future::join_all([1i32, 0, 2, 0, 5].map(|n| {
        let (c, bad) = (&c, &bad);
        async move { c.query_one(bad, &[&n]).await.map(|r| r.get::<_, i32>(0)).map_err(|e| code::<()>(Err(e))) }
    }))
    .await;
    println!("{results:?}");
    // Statements come and go.
    for i in 0..200 {
        let s = c.prepare(&format!("SELECT {i}::int + $1::int")).await.unwrap();
        assert_eq!(c.query_one(&s, &[&1i32]).await.unwrap().get::<_, i32>(0), i + 1);
    }

    println!("== types");
    c.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let r = c.query_one("SELECT true, 1::int2, 0.5::float8, 'täxt', '\\xdead'::bytea, NULL::text, '{1,2,NULL}'::int[], ('2024-02-29 12:34:56+00'::timestamptz)::text", &[]).await.unwrap();
    println!(
        "{} {} {} {} {:?} {:?} {:?} {}",
        r.get::<_, bool>(0), r.get::<_, i16>(1), r.get::<_, f64>(2), r.get::<_, String>(3), r.get::<_, Vec<u8>>(4),
        r.get::<_, Option<String>>(5), r.get::<_, Vec<Option<i32>>>(6), r.get::<_, String>(7)
    );

    println!("== transactions");
    let mut tx = c.transaction().await.unwrap();
    tx.execute("UPDATE accounts SET balance = 1 WHERE id = 60", &[]).await.unwrap();
    let sp = tx.transaction().await.unwrap();
    sp.execute("UPDATE accounts SET balance = 2 WHERE id = 60", &[]).await.unwrap();
    print!("{} {} ", code(sp.query("SELECT 1/0", &[]).await), code(sp.query("SELECT 1", &[]).await));
    sp.rollback().await.unwrap();
    print!("{} ", balance(&tx, 60).await);
    tx.rollback().await.unwrap();
    println!("{}", balance(&c, 60).await);
    let tx = c.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await.unwrap();
    println!("{} {}", balance(&tx, 61).await, code(tx.execute("DELETE FROM accounts", &[]).await));
    drop(tx); // rolled back
    let tx = c.transaction().await.unwrap();
    let s = tx.prepare("SELECT i FROM generate_series(1, $1::int) i").await.unwrap();
    let portal = tx.bind(&s, &[&10i32]).await.unwrap();
    print!("{} ", tx.query_portal(&portal, 3).await.unwrap().len());
    print!("{} ", tx.query_portal(&portal, 5).await.unwrap().len());
    println!("{}", tx.query_portal(&portal, 5).await.unwrap().len());
    tx.commit().await.unwrap();

    println!("== session");
    c.batch_execute("SET search_path = pg_catalog, public; CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i").await.unwrap();
    println!("{} {}", c.query_one("SHOW search_path", &[]).await.unwrap().get::<_, String>(0), c.query_one("SELECT sum(i) FROM t", &[]).await.unwrap().get::<_, i64>(0));
    c.batch_execute("DROP TABLE t; RESET search_path").await.unwrap();
    let mut with = config();
    with.application_name("from the startup packet").options("-c search_path=pg_catalog");
    let named = connect_with(with).await.0;
    let r = named.query_one("SELECT current_setting('application_name'), current_setting('search_path')", &[]).await.unwrap();
    println!("{} {}", r.get::<_, String>(0), r.get::<_, String>(1));

    println!("== copy");
    c.batch_execute("CREATE TABLE copied(i int PRIMARY KEY, t text)").await.unwrap();
    let sink = c.copy_in::<_, std::io::Cursor<Vec<u8>>>("COPY copied FROM STDIN").await.unwrap();
    pin_mut!(sink);
    for i in 0..20000 {
        sink.feed(std::io::Cursor::new(format!("{i}\trow {i}\n").into_bytes())).await.unwrap();
    }
    println!("{}", sink.as_mut().finish().await.unwrap());
    let out = c.copy_out("COPY (SELECT * FROM copied ORDER BY i) TO STDOUT").await.unwrap();
    println!("{}", out.try_fold(0, |n, b| async move { Ok(n + b.len()) }).await.unwrap());
    let sink = c.copy_in::<_, std::io::Cursor<Vec<u8>>>("COPY copied FROM STDIN").await.unwrap();
    pin_mut!(sink);
    sink.send(std::io::Cursor::new(b"1\tagain\n".to_vec())).await.unwrap();
    println!("{} {}", code(sink.as_mut().finish().await), balance(&c, 1).await);

    println!("== cancel and notify");
    let (other, mut heard) = connect_with(config()).await;
    let token = other.cancel_token();
    let (slept, _) = future::join(other.query("SELECT pg_sleep(60)", &[]), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.unwrap();
    })
    .await;
    println!("{} {}", code(slept), balance(&other, 2).await);
    other.batch_execute("LISTEN news").await.unwrap();
    c.batch_execute("NOTIFY news, 'hello'").await.unwrap();
    other.batch_execute("NOTIFY news, 'to myself'").await.unwrap();
    println!("{:?} {:?}", heard.recv().await, heard.recv().await);

    println!("== big and concurrent");
    let many = c.query_raw("SELECT generate_series(1, 100000)", Vec::<String>::new()).await.unwrap();
    println!("{}", many.try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap());
    println!("{}", c.query_one("SELECT length($1::text)", &[&"z".repeat(5_000_000)]).await.unwrap().get::<_, i32>(0));
    println!("{}", c.query_one("SELECT repeat('y', 10000000)", &[]).await.unwrap().get::<_, String>(0).len());
    c.batch_execute("CREATE TABLE counter(i int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)").await.unwrap();
    let tasks = (0..12).map(|_| {
        tokio::spawn(async {
            let mut k = connect().await;
            for _ in 0..20 {
                let tx = k.transaction().await.unwrap();
                let n: i32 = tx.query_one("SELECT n FROM counter WHERE i = 1 FOR UPDATE", &[]).await.unwrap().get(0);
                tx.execute("UPDATE counter SET n = $1 WHERE i = 1", &[&(n + 1)]).await.unwrap();
                tx.commit().await.unwrap();
                balance(&k, 5).await;
            }
        })
    });
    for t in future::join_all(tasks).await {
        t.unwrap();
    }
    println!("{}", c.query_one("SELECT n FROM counter", &[]).await.unwrap().get::<_, i32>(0));
}
