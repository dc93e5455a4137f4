//! Several threads, several handles (as several processes have them): nothing is lost, nothing is twice.

use std::thread;

use super::*;

/// Takes its time, so that others queue up behind.
struct Slow;

impl Signer for Slow {
    fn attest(&self, _: &seaworthy_core::ports::AttestRequest<'_>) -> Result<Bundle, PortError> {
        unreachable!()
    }
    fn checkpoint(&self, request: &CheckpointRequest) -> Result<String, PortError> {
        thread::sleep(std::time::Duration::from_millis(10));
        signer().checkpoint(request)
    }
    fn checkpoint_again(&self, request: &CheckpointRequest) -> Result<Option<String>, PortError> {
        signer().checkpoint_again(request)
    }
    fn is_signed_by_log(&self, note: &str) -> Result<bool, PortError> {
        signer().is_signed_by_log(note)
    }
    fn public_key(&self, _: seaworthy_core::ports::KeyRole) -> Result<Vec<u8>, PortError> {
        unreachable!()
    }
}

#[test]
fn handles_and_threads_append_at_once_and_nothing_is_lost() {
    let dir = Temp::new();
    drop(create(&dir));
    let (handles, threads, rounds) = (3_u64, 4_u64, 12_u64);
    let mut indexes: Vec<(u64, u64)> = Vec::new();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for handle in 0..handles {
            let log = Arc::new(open(&dir));
            for thread in 0..threads {
                let log = log.clone();
                running.push(scope.spawn(move || {
                    let mut own = Vec::new();
                    for round in 0..rounds {
                        let n = (handle * threads + thread) * 1_000 + round * 2;
                        let got = log.append(&leaves(n..n + 2)).unwrap();
                        own.extend([(n, got[0]), (n + 1, got[1])]);
                        if (thread, round % 5) == (0, 3) {
                            log.flush().unwrap();
                        }
                    }
                    own
                }));
            }
        }
        for thread in running {
            indexes.extend(thread.join().unwrap());
        }
    });
    let total = handles * threads * rounds * 2;
    let reader = LogReader::open(&dir).unwrap();
    assert_eq!(reader.state().size, total);
    assert_eq!(indexes.iter().map(|(_, index)| index).collect::<HashSet<_>>().len() as u64, total);
    let again = Temp::new();
    let log = create(&again);
    for (n, index) in indexes {
        let size = log.append(&[leaf(n)]).unwrap()[0];
        let own = log.snapshot().unwrap().entry(size).unwrap();
        assert_eq!(reader.entry(index).unwrap(), own, "leaf {n} is at the index that was acknowledged");
    }
    assert_eq!(audit(&dir), []);
}

#[test]
fn threads_share_one_commit() {
    let dir = Temp::new();
    drop(create(&dir));
    let log = Log::open(&dir, ORIGIN, Arc::new(Slow)).unwrap();
    thread::scope(|scope| {
        for n in 0..32 {
            let log = &log;
            scope.spawn(move || log.append(&[leaf(n)]).unwrap());
        }
    });
    let wal = fs::read(dir.join("wal")).unwrap();
    let commits = scan(&wal).unwrap().records.len() - 1;
    assert!(commits <= 8, "32 leaves took {commits} commits");
    assert_eq!(LogReader::open(&dir).unwrap().state().size, 32);
}

#[test]
fn readers_see_whole_states_while_a_writer_works() {
    let dir = Temp::new();
    let log = create(&dir);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..150 {
                log.append(&leaves(n * 3..n * 3 + 3)).unwrap();
                if n % 40 == 39 {
                    log.flush().unwrap();
                }
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            let reader = LogReader::open(&dir).unwrap();
            let state = reader.state();
            assert!(state.size >= last && state.size.is_multiple_of(3));
            last = state.size;
            if let Some(index) = last.checked_sub(1) {
                let proof = reader.inclusion(index).unwrap();
                verify_inclusion(&leaf_hash(&reader.entry(index).unwrap()), index, last, &proof, &state.root).unwrap();
            }
        }
    });
    assert_eq!(audit(&dir), []);
}

#[test]
fn a_long_wal_starts_anew_while_others_append() {
    let dir = Temp::new();
    drop(create(&dir));
    thread::scope(|scope| {
        for handle in 0..2_u64 {
            let log = Arc::new(open(&dir));
            for thread in 0..3_u64 {
                let log = log.clone();
                scope.spawn(move || {
                    for round in 0..12_u64 {
                        let n = (handle * 3 + thread) * 100_000 + round * 100;
                        log.append(&leaves(n..n + 60)).unwrap();
                    }
                });
            }
        }
    });
    let wal = fs::read(dir.join("wal")).unwrap();
    let base = Checkpoint::parse(scan(&wal).unwrap().records[0].checkpoint.as_bytes()).unwrap().0;
    assert!(base.size > 0, "it was flushed in between");
    assert_eq!(LogReader::open(&dir).unwrap().state().size, 2 * 3 * 12 * 60);
    assert_eq!(audit(&dir), []);
    drop(open(&dir));
    assert_eq!(audit(&dir), []);
}
