//! The engines keep to their trait, so that the comparison is one of the same work.

use store_engines::workload::{self, Found, Queue};
use store_engines::{Engine, Kind};

fn each(does: impl Fn(Kind, &std::path::Path)) {
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().expect("a folder");
        does(kind, dir.path());
    }
}

fn open(kind: Kind, dir: &std::path::Path) -> Box<dyn Engine> {
    kind.open(dir).unwrap_or_else(|error| panic!("{}: {error}", kind.name()))
}

#[test]
fn records_are_read_back_and_the_last_is_known() {
    each(|kind, dir| {
        let mut engine = open(kind, dir);
        assert_eq!((engine.last(), engine.read(1).expect("read")), (0, None), "{}", kind.name());
        workload::append(&mut *engine, 3).expect("appended");
        workload::append(&mut *engine, 1).expect("appended");
        assert_eq!(engine.last(), 4, "{}", kind.name());
        for seq in 1..=4 {
            assert_eq!(engine.read(seq).expect("read"), Some(workload::payload(seq)), "{}", kind.name());
        }
        assert_eq!(engine.read(5).expect("read"), None, "{}", kind.name());
    });
}

#[test]
fn a_queue_is_there_again_after_closing() {
    each(|kind, dir| {
        let mut queue = Queue::default();
        for _ in 0..3 {
            let mut engine = open(kind, dir);
            assert_eq!(engine.last(), queue.last, "{}", kind.name());
            for append in [7, 1, 64] {
                let next = queue.after(append, 20);
                queue.advance(&mut *engine, next).expect("advanced");
                queue = next;
            }
            engine.close().expect("closed");
        }
        let found = workload::check(&*open(kind, dir), queue, queue);
        assert_eq!(found, Found { intact: queue.last - queue.floor, ..Found::default() }, "{}", kind.name());
        assert!(queue.floor > 100 && found.intact >= 20, "{queue:?}");
    });
}

#[test]
fn a_check_sees_what_is_missing_and_what_came_back() {
    each(|kind, dir| {
        let mut engine = open(kind, dir);
        workload::append(&mut *engine, 10).expect("appended");
        engine.write(&[], &[7]).expect("removed");
        let acked = Queue { floor: 2, last: 12 };
        let expected = Found { intact: 7, missing: 3, resurrected: 2, ..Found::default() };
        assert_eq!(workload::check(&*engine, acked, acked), expected, "{}", kind.name());
        // Those whose deletion was under way may be there or not.
        let expected = Found { intact: 3, missing: 2, resurrected: 2, ..Found::default() };
        assert_eq!(workload::check(&*engine, acked, Queue { floor: 7, last: 12 }), expected, "{}", kind.name());
    });
}
