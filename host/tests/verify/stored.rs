//! What an embedded log holds, read and forged past the program: rows with the checksums that the program would give
//! them.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use wigwag::log::Topic;

use crate::process::eventually;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) time_ms: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) headers: String,
    pub(crate) value: Vec<u8>,
}

fn open(data: &Path, flags: OpenFlags) -> Connection {
    let log = Connection::open_with_flags(data.join("log.db"), flags).expect("a log");
    log.busy_timeout(Duration::from_secs(10))
        .expect("a timeout");
    log
}

/// All messages of a partition.
pub(crate) fn messages(data: &Path, topic: Topic, partition: u32) -> Vec<Message> {
    let sql = format!(
        "SELECT count, time_ms, key, headers, value FROM {topic}_{partition} ORDER BY offset"
    );
    let log = open(data, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let mut statement = log.prepare(&sql).expect("a table");
    let mut rows = statement.query(()).expect("rows");
    let mut all = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let (count, time_ms): (u32, i64) = (row.get(0).expect("count"), row.get(1).expect("time"));
        let (key, value): (Vec<u8>, Vec<u8>) =
            (row.get(2).expect("key"), row.get(4).expect("value"));
        let headers: String = row.get(3).expect("headers");
        if count == 1 {
            all.push(Message {
                time_ms,
                key,
                headers,
                value,
            });
            continue;
        }
        let lines = key.split(|&b| b == b'\n').zip(value.split(|&b| b == b'\n'));
        all.extend(lines.map(|(key, value)| Message {
            time_ms,
            key: key.to_vec(),
            headers: headers.clone(),
            value: value.to_vec(),
        }));
    }
    all
}

/// Makes these the messages of a partition, from offset 0 on.
pub(crate) fn replace(data: &Path, topic: Topic, partition: u32, messages: &[Message]) {
    let mut log = open(data, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let transaction = log.transaction().expect("a transaction");
    transaction
        .execute(&format!("DELETE FROM {topic}_{partition}"), ())
        .expect("removed");
    let sql = format!("INSERT INTO {topic}_{partition} VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6)");
    for (offset, message) in (0_u64..).zip(messages) {
        let Message {
            time_ms,
            key,
            headers,
            value,
        } = message;
        let mut crc = flate2::Crc::new();
        crc.update(topic.name().as_bytes());
        crc.update(&partition.to_le_bytes());
        crc.update(&offset.to_le_bytes());
        crc.update(&1_u32.to_le_bytes());
        crc.update(&time_ms.to_le_bytes());
        for part in [key.as_slice(), headers.as_bytes(), value.as_slice()] {
            crc.update(&part.len().to_le_bytes());
            crc.update(part);
        }
        let row = params![offset, time_ms, crc.sum(), key, headers, value];
        transaction.execute(&sql, row).expect("written");
    }
    transaction.commit().expect("committed");
    // It says how much there was.
    std::fs::remove_file(data.join("log.lock")).ok();
}

/// Carries the write-ahead log over into the file, which is then all there is.
pub(crate) fn carry_over(data: &Path) {
    let log = open(data, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let carry = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: u32 = log.query_row(carry, (), |row| row.get(0)).expect("a WAL");
    assert_eq!(busy, 0);
}

/// Waits until the engine has committed all ticks.
pub(crate) async fn committed(data: &Path, partitions: u32) {
    let log = open(data, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let number = |sql: String| -> u64 {
        let number = log.query_row(&sql, (), |row| row.get(0)).optional();
        number.expect("a log").unwrap_or(0)
    };
    let behind = |partition: u32| {
        let end = number(format!(
            "SELECT offset + count FROM ticks_{partition} ORDER BY offset DESC LIMIT 1"
        ));
        let position = number(format!(
            "SELECT position FROM positions WHERE consumers = 'engine' AND partition = {partition}"
        ));
        end - position
    };
    eventually("the engine", async || {
        (0..partitions).all(|p| behind(p) == 0).then_some(())
    })
    .await;
}
