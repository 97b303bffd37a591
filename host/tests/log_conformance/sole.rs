//! Claims about the sole writer.

use super::*;

fn decision(n: usize) -> Append {
    message(
        Topic::Control,
        0,
        format!("strategy/{n}").as_bytes(),
        n.to_string().as_bytes(),
    )
}

pub(crate) fn a_sole_writer_shuts_out_the_one_before<F: Fixture>() {
    let fixture = F::create();
    let log = fixture.open();
    let mut first = log.sole_writer().expect("a writer");
    first.append(vec![decision(0)]).expect("written");
    // With what it writes to other topics, all or nothing.
    let beside = message(Topic::Audit, 0, b"", b"beside");
    first
        .append(vec![beside.clone(), decision(1)])
        .expect("written again");
    let mut second = log.sole_writer().expect("a writer");
    let refused = first.append(vec![beside, decision(7)]);
    assert!(
        matches!(
            refused,
            Err(LogError::Lost {
                topic: Topic::Control,
                partition: 0,
                ..
            })
        ),
        "{refused:?}"
    );
    second.append(vec![decision(2)]).expect("written");
    assert_eq!(read_texts(&log, Topic::Control, 0), ["0", "1", "2"]);
    assert_eq!(read_texts(&log, Topic::Audit, 0), ["beside"]);
    // Its end does not disturb its successor.
    drop(first);
    second.append(vec![decision(3)]).expect("written");
    // Plain appends are everyone's.
    append(&log, vec![decision(4)]);
    assert_eq!(
        read_texts(&log, Topic::Control, 0),
        ["0", "1", "2", "3", "4"]
    );
}

pub(crate) fn of_sole_writers_at_once_each_knows_what_the_others_wrote<F: Fixture>() {
    const EACH: usize = 5;
    let fixture = F::create();
    let log = fixture.open();
    thread::scope(|scope| {
        for number in 0..2_u32 {
            let log = &log;
            scope.spawn(move || {
                let (mut done, mut tries) = (0, 0_u32);
                while done < EACH {
                    let mut writer = log.sole_writer().expect("a writer");
                    let known = read_all(log, Topic::Control, 0).len();
                    match writer.append(vec![decision(known)]) {
                        Ok(()) => (done, tries) = (done + 1, 0),
                        Err(LogError::Lost { .. }) => {
                            tries += 1;
                            assert!(tries < 50, "never its turn");
                            // Two that shut each other out in the same rhythm would do so for ever.
                            thread::sleep(Duration::from_millis(7) * (tries + 3 * number));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let all: Vec<_> = (0..2 * EACH).map(|n| n.to_string()).collect();
    assert_eq!(read_texts(&log, Topic::Control, 0), all);
}
