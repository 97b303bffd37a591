//! The embedded log refuses what is not its own or not whole: with an error that names it, and nothing written.

use crate::{
    directory::{Directory, options},
    suite::*,
};
use std::{fs, os::unix::fs::FileExt, path::Path};
use wigwag::log::{
    Log, LogError, Messages, Topic,
    embedded::{EmbeddedLog, Options, Sync},
};

fn refused(opened: Result<EmbeddedLog, LogError>) -> String {
    match opened {
        Err(error @ (LogError::Damaged { .. } | LogError::Mismatch(_))) => error.to_string(),
        Err(error) => panic!("refused as {error:?}"),
        Ok(_) => panic!("it opened"),
    }
}

fn flip(file: &Path, at: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(file)
        .expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reads");
    file.write_all_at(&[byte[0] ^ 0x40], at).expect("writes");
}

#[test]
fn a_second_process_is_refused_and_told_who_has_the_directory() {
    let directory = Directory::create();
    let log = directory.open();
    let text = match directory.try_open(options()) {
        Err(error @ LogError::Unavailable { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(text.contains(&directory.address()), "{text}");
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    fill(&log, Topic::Ticks, 0, 1);
    drop(log);
    assert_eq!(read_all(&directory.open(), Topic::Ticks, 0).len(), 1);
}

#[test]
fn another_number_of_partitions_is_refused_with_both_numbers() {
    let directory = Directory::create();
    fill(&directory.open(), Topic::Ticks, 3, 1);
    let text = refused(directory.try_open(Options {
        partitions: 12,
        ..options()
    }));
    assert!(
        text.contains("has 4 partitions") && text.contains("12 are configured"),
        "{text}"
    );
    assert!(text.contains(&directory.address()), "{text}");
    assert_eq!(
        read_all(&directory.open(), Topic::Ticks, 3).len(),
        1,
        "it still opens as it was"
    );
    for partitions in [0, 257] {
        let text = refused(Directory::create().try_open(Options {
            partitions,
            ..options()
        }));
        assert!(text.contains(&format!("{partitions} partitions")), "{text}");
    }
}

#[test]
fn a_file_of_another_schema_or_program_is_refused() {
    for (pragma, words) in [
        ("PRAGMA user_version = 7", ["schema version 7", "knows 1"]),
        ("PRAGMA application_id = 7", ["another program's", "0x7"]),
        (
            "INSERT INTO settings VALUES ('topic quotes', 1)",
            ["15 topics", "quotes"],
        ),
    ] {
        let directory = Directory::create();
        drop(directory.open());
        directory.sqlite().execute_batch(pragma).expect("changed");
        let text = refused(directory.try_open(options()));
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[test]
fn a_file_of_a_program_that_knew_fewer_topics_is_given_those() {
    let directory = Directory::create();
    let log = directory.open();
    let partitions = log.partitions();
    drop(log);
    let tables: String = (0..partitions)
        .map(|partition| format!("DROP TABLE logs_{partition};"))
        .collect();
    let older = format!(
        "DROP VIEW logs; {tables} DELETE FROM settings WHERE name = 'topic logs'; PRAGMA wal_checkpoint(TRUNCATE);"
    );
    directory.sqlite().execute_batch(&older).expect("changed");
    let log = directory.open();
    for partition in 0..partitions {
        let bounds = log.bounds(Topic::Logs, partition).expect("it is there");
        assert_eq!((bounds.start, bounds.end), (0, 0));
    }
}

#[test]
fn a_truncated_file_is_refused_and_left_as_it_is() {
    let directory = Directory::create();
    let log = directory.open();
    append(
        &log,
        (0..40)
            .map(|_| message(Topic::Ticks, 1, b"", &[b'x'; 70_000]))
            .collect(),
    );
    drop(log);
    let file = directory.file("log.db");
    let whole = fs::read(&file).expect("the file");
    for bytes in [0, 1, 50, 100, 8192, whole.len() / 2, whole.len() - 8192] {
        fs::write(&file, &whole[..bytes]).expect("cut");
        let text = refused(directory.try_open(options()));
        assert!(text.contains("log.db"), "{text}");
        assert_eq!(
            fs::read(&file).expect("the file"),
            whole[..bytes],
            "cut to {bytes} bytes, then changed"
        );
    }
    fs::remove_file(&file).expect("removed");
    let text = refused(directory.try_open(options()));
    assert!(text.contains("missing"), "{text}");
    fs::write(&file, &whole).expect("brought back");
    assert_eq!(read_all(&directory.open(), Topic::Ticks, 1).len(), 40);
}

#[test]
fn a_flipped_bit_in_a_message_is_named_when_it_is_read() {
    let directory = Directory::create();
    let log = directory.open();
    for n in 0..3u8 {
        append(
            &log,
            vec![message(Topic::Signals, 2, b"", &[b'a' + n; 50_000])],
        );
    }
    drop(log);
    let file = directory.file("log.db");
    let bytes = fs::read(&file).expect("the file");
    let at = bytes
        .windows(100)
        .position(|window| window == [b'b'; 100])
        .expect("the second message");
    flip(&file, at as u64 + 10);
    let log = directory.open();
    let mut reader = reader_at(&log, Topic::Signals, 2, 0);
    let mut messages = Messages::new();
    reader
        .poll(&mut messages, PLENTY, SHORT)
        .expect("what is before it");
    assert_eq!(messages.len(), 1);
    match reader.poll(&mut messages, PLENTY, SHORT) {
        Err(LogError::Damaged { log, detail }) => {
            assert!(
                log.contains("log.db") && log.contains("signals/2 offset 1"),
                "{log}"
            );
            assert!(detail.contains("CRC"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(messages.len(), 1);
    assert_eq!(reader.position(Topic::Signals, 2), 1);
}

/// Overwrites each page of a file in turn with noise, with zeros, and with another page. Whatever was hit, what is
/// read is an error or the truth.
#[test]
fn no_damaged_page_makes_a_message_wrong_or_lost() {
    const PAGE: usize = 8192;
    let directory = Directory::create();
    let log = directory.open();
    for round in 0..6 {
        for partition in 0..2 {
            let lines = (0..120).map(|n| {
                message(
                    Topic::Signals,
                    partition,
                    b"k",
                    format!("{round} {n}").as_bytes(),
                )
            });
            append(&log, lines.collect());
            append(
                &log,
                vec![message(
                    Topic::Ticks,
                    partition,
                    b"",
                    &[b'a' + round; 20_000],
                )],
            );
            append(
                &log,
                vec![message(
                    Topic::Control,
                    0,
                    &[round, partition as u8],
                    b"control",
                )],
            );
        }
    }
    let places = [
        (Topic::Signals, 0),
        (Topic::Signals, 1),
        (Topic::Ticks, 0),
        (Topic::Ticks, 1),
        (Topic::Control, 0),
    ];
    let truth = places.map(|(topic, partition)| read_all(&log, topic, partition));
    drop(log);
    let whole = fs::read(directory.file("log.db")).expect("the file");
    let pages = whole.len() / PAGE;
    assert!(pages > 60, "{pages} pages");
    let noise: Vec<u8> = (0..PAGE as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    let zeros = vec![0; PAGE];
    let (mut seen, mut unseen) = (0, 0);
    for page in 0..pages {
        let other = (page + pages / 2) % pages;
        for cover in [&noise[..], &zeros, &whole[other * PAGE..][..PAGE]] {
            let mut bytes = whole.clone();
            bytes[page * PAGE..][..PAGE].copy_from_slice(cover);
            let directory = directory.copy();
            fs::write(directory.file("log.db"), &bytes).expect("damaged");
            match read_whole(&directory, &places) {
                Ok(read) => {
                    assert!(
                        read == truth,
                        "page {page} was damaged, and the messages are others"
                    );
                    unseen += 1;
                }
                Err(LogError::Damaged { .. } | LogError::Mismatch(_)) => seen += 1,
                Err(error) => panic!("page {page}: {error:?}"),
            }
        }
    }
    assert!(
        seen > pages && unseen > 0,
        "{seen} errors, {unseen} without effect"
    );
}

fn read_whole<const N: usize>(
    directory: &Directory,
    places: &[(Topic, u32); N],
) -> Result<[Vec<Message>; N], LogError> {
    let log = directory.try_open(options())?;
    let mut read = [const { Vec::new() }; N];
    for (read, &(topic, partition)) in read.iter_mut().zip(places) {
        let end = log.bounds(topic, partition)?.end;
        let mut reader = log.read(&[wigwag::log::Start {
            topic,
            partition,
            offset: 0,
        }])?;
        let mut messages = Messages::new();
        while reader.position(topic, partition) < end {
            reader.poll(&mut messages, PLENTY, SHORT)?;
        }
        *read = owned(&messages).collect();
    }
    Ok(read)
}

#[test]
fn a_row_that_is_missing_is_named() {
    for (missing, words) in [
        (3, "offsets 3 to 3 are missing"),
        (9, "9 offsets where 10 were committed"),
    ] {
        let directory = Directory::create();
        fill_rows(&directory, 10);
        directory
            .sqlite()
            .execute("DELETE FROM ticks_0 WHERE offset = ?1", [missing])
            .expect("removed");
        let error = read_whole(&directory, &[(Topic::Ticks, 0)]).expect_err("a row is missing");
        assert!(
            matches!(error, LogError::Damaged { .. }) && error.to_string().contains(words),
            "{error}"
        );
    }
}

/// Messages of two lines: each has a row.
fn fill_rows(directory: &Directory, count: usize) {
    append(
        &directory.open(),
        vec![message(Topic::Ticks, 0, b"", b"two\nlines"); count],
    );
}

#[test]
fn a_lost_or_cut_wal_is_refused_and_a_whole_one_read() {
    let directory = Directory::create();
    let log = directory.open();
    let all = fill(&log, Topic::Ticks, 0, 20);
    append(&log, vec![message(Topic::Ticks, 1, b"", &[b'x'; 40_000])]);
    let crashed = || directory.copy();
    let wal = fs::metadata(directory.file("log.db-wal"))
        .expect("a WAL")
        .len();
    assert!(wal > 40_000, "{wal} bytes");

    let whole = crashed();
    assert_eq!(read_all(&whole.open(), Topic::Ticks, 0), all);

    let lost = crashed();
    fs::remove_file(lost.file("log.db-wal")).expect("removed");
    let cut = crashed();
    fs::File::options()
        .write(true)
        .open(cut.file("log.db-wal"))
        .and_then(|file| file.set_len(wal / 2))
        .expect("cut");
    let flipped = crashed();
    flip(&flipped.file("log.db-wal"), wal / 2);
    for damaged in [&lost, &cut, &flipped] {
        let text = refused(damaged.try_open(options()));
        assert!(
            text.contains("log.db-wal") && text.contains("log.lock"),
            "{text}"
        );
    }
    // It was not touched: brought back it is read.
    fs::copy(directory.file("log.db-wal"), lost.file("log.db-wal")).expect("brought back");
    assert_eq!(read_all(&lost.open(), Topic::Ticks, 0), all);
    // An operator may agree to lose the rest, once or beforehand.
    fs::remove_file(cut.file("log.lock")).expect("removed");
    assert!(bounds(&cut.open(), Topic::Ticks, 0).end <= 20);
    let opened = flipped.try_open(Options {
        sync: Sync::Normal,
        ..options()
    });
    assert!(
        bounds(&opened.expect("opens"), Topic::Ticks, 1).end == 0,
        "the flipped message is lost"
    );
}
