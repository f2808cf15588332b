//! The crate's default index: a pool of event threads over the concurrent compressed radix tree.
use std::time::{Duration, Instant};

use dynamo_kv_router::indexer::SyncIndexer;
use dynamo_kv_router::protocols::{OverlapScores, RouterEvent};
use dynamo_kv_router::{ConcurrentRadixTreeCompressed, ThreadPoolIndexer};
use tokio::runtime::Runtime;

use crate::data::{Change, Data, Query};
use crate::process;

const BLOCK_SIZE: u32 = 64;
/// What applying a section took, from the first event handed over to the last one applied.
#[derive(Default)]
pub struct Applied {
    pub events: usize,
    pub took: Duration,
    pub cpu: Duration,
}

impl Applied {
    pub fn per_second(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }

    /// Nanoseconds of CPU per event.
    pub fn cpu_ns(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.events as f64
    }
}

pub struct Index {
    pool: ThreadPoolIndexer<ConcurrentRadixTreeCompressed>,
    runtime: Runtime,
}

impl Index {
    pub fn new(event_threads: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
        let pool = ThreadPoolIndexer::new(ConcurrentRadixTreeCompressed::new(), event_threads, BLOCK_SIZE);
        Self { pool, runtime }
    }

    pub fn find(&self, query: &Query) -> OverlapScores {
        self.pool.backend().find_matches(&query.hashes, false)
    }

    pub fn enqueue(&self, event: RouterEvent) {
        self.pool.enqueue_event(event).expect("the index takes events");
    }

    pub fn flush(&self) {
        self.runtime.block_on(self.pool.flush());
    }

    /// Applies all changes of a section in events of at most so many blocks, prepared `at_a_time` changes beforehand.
    pub fn apply(
        &self,
        data: &Data,
        section: usize,
        removal: bool,
        blocks_per_event: u32,
        at_a_time: usize,
    ) -> Applied {
        let count = data.change_count(section);
        let mut applied = Applied::default();
        for from in (0..count).step_by(at_a_time) {
            let mut events = Vec::new();
            for i in from..count.min(from + at_a_time) {
                for part in split(data.change(section, i), blocks_per_event, removal) {
                    let id = events.len() as u64;
                    events.push(if removal { data.removed(part, id) } else { data.stored(part, id) });
                }
            }
            applied.events += events.len();
            let (start, cpu) = (Instant::now(), process::cpu_time());
            for event in events {
                self.enqueue(event);
            }
            self.flush();
            applied.took += start.elapsed();
            applied.cpu += process::cpu_time() - cpu;
        }
        applied
    }
}

/// A change as several of at most `most` blocks; removals from its end.
pub fn split(change: Change, most: u32, removal: bool) -> Vec<Change> {
    let mut parts: Vec<Change> = (0..change.count)
        .step_by(most as usize)
        .map(|from| Change {
            offset: change.offset + from,
            count: most.min(change.count - from),
            has_parent: change.has_parent || from > 0,
            ..change
        })
        .collect();
    if removal {
        parts.reverse();
    }
    parts
}
