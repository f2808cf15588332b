//! Measures the crate dynamo-kv-router for `npm run bench -- kvindex`. Takes one command a line and answers each with one
//! line of JSON, as bench/kvindex/ours.ts does for our index.
mod data;
mod index;
mod process;

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use data::{Data, MIXED_REMOVALS, MIXED_STORES, QUERY_SETS, Query, REMOVALS, STORES};
use dynamo_kv_router::protocols::{BlockHashOptions, compute_block_hash_for_seq, compute_seq_hash_for_block};
use index::Index;

/// Messages of new sequences that are there at once while finds and events are mixed.
const MIXED_WINDOW: usize = 4;
const MESSAGE_EVENTS: usize = 512;
/// Changes prepared at a time, before the clock runs: as many as 128 messages of 512 events carry.
const PREPARED: usize = 128 * MESSAGE_EVENTS;
const MIXED_FINDS: usize = 128;

struct Bench {
    data: Data,
    index: Index,
    queries: [Vec<Query>; QUERY_SETS],
}

fn main() {
    let mut bench: Option<Bench> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("commands are text");
        let words: Vec<&str> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u64>().expect("a number");
        let answer = match (words[0], &bench) {
            ("hash", _) => hash(number(1) as usize, Duration::from_millis(number(2))),
            ("load", _) => {
                let (loaded, answer) = load(words[1], number(2) as usize);
                bench = Some(loaded);
                answer
            }
            ("verify", Some(bench)) => verify(bench, number(1) as usize),
            ("find", Some(bench)) => find(bench, number(1) as usize, Duration::from_millis(number(2))),
            ("latency", Some(bench)) => latency(bench, number(1) as usize, number(2) as usize),
            ("churn", Some(bench)) => churn(bench, number(1) as u32, number(2) as usize),
            ("mixed", Some(bench)) => mixed(bench, number(1) as usize, number(2) as usize),
            (other, _) => panic!("unknown command {other}, or nothing loaded"),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("somebody reads the answers");
    }
}

/// Fills the index and weighs it.
fn load(path: &str, event_threads: usize) -> (Bench, String) {
    let data = Data::read(path);
    let index = Index::new(event_threads);
    let before = process::resident_bytes();
    index.apply(&data, STORES, false, 16, MESSAGE_EVENTS);
    let bytes = process::resident_bytes() - before;
    let queries = std::array::from_fn(|set| data.queries(set));
    let answer = format!(r#"{{"entries":{},"bytes":{bytes}}}"#, data.entries);
    (Bench { data, index, queries }, answer)
}

/// Everything that the queries of a set return, in sums.
fn verify(bench: &Bench, set: usize) -> String {
    let (mut deepest, mut overlap, mut workers) = (0u64, 0u64, 0u64);
    for query in &bench.queries[set] {
        let scores = bench.index.find(query).scores;
        deepest += u64::from(scores.values().copied().max().unwrap_or(0));
        overlap += scores.values().map(|&depth| u64::from(depth)).sum::<u64>();
        workers += scores.values().filter(|&&depth| depth > 0).count() as u64;
    }
    format!(r#"{{"deepest":{deepest},"overlap":{overlap},"workers":{workers}}}"#)
}

fn find(bench: &Bench, set: usize, at_least: Duration) -> String {
    let queries = &bench.queries[set];
    let (mut finds, mut depth) = (0u64, 0u64);
    let start = Instant::now();
    while start.elapsed() < at_least {
        for query in queries {
            depth += u64::from(depth_of(&bench.index, query));
        }
        finds += queries.len() as u64;
    }
    let seconds = start.elapsed().as_secs_f64();
    check_depth(bench, set, finds, depth);
    format!(r#"{{"perSecond":{}}}"#, finds as f64 / seconds)
}

fn latency(bench: &Bench, set: usize, passes: usize) -> String {
    let queries = &bench.queries[set];
    let mut times = Vec::with_capacity(queries.len() * passes);
    let mut depth = 0;
    for _ in 0..passes {
        for query in queries {
            let start = Instant::now();
            depth += u64::from(depth_of(&bench.index, query));
            times.push(start.elapsed().as_nanos() as u64);
        }
    }
    check_depth(bench, set, times.len() as u64, depth);
    format!(r#"{{"p99Us":{}}}"#, p99_us(times))
}

/// A fresh index: everything stored, then everything removed, in events of so many blocks.
fn churn(bench: &Bench, blocks_per_event: u32, event_threads: usize) -> String {
    let at_a_time = if blocks_per_event == 1 { PREPARED / 16 } else { PREPARED };
    let index = Index::new(event_threads);
    let stored = index.apply(&bench.data, STORES, false, blocks_per_event, at_a_time);
    let last = bench.queries.last().expect("there are query sets");
    let found: u64 = last.iter().map(|query| u64::from(depth_of(&index, query))).sum();
    check_depth(bench, QUERY_SETS - 1, last.len() as u64, found);
    let removed = index.apply(&bench.data, REMOVALS, true, blocks_per_event, at_a_time);
    let left: u64 = last.iter().map(|query| u64::from(depth_of(&index, query))).sum();
    assert_eq!(left, 0, "blocks are left after all removals");
    format!(
        r#"{{"storedPerSecond":{},"storedCpuNs":{},"removedPerSecond":{},"removedCpuNs":{}}}"#,
        stored.per_second(),
        stored.cpu_ns(),
        removed.per_second(),
        removed.cpu_ns()
    )
}

/// New sequences come and go, a message at a time, and after each message lookups of a set.
fn mixed(bench: &Bench, set: usize, rounds: usize) -> String {
    let messages = bench.data.change_count(MIXED_STORES) / MESSAGE_EVENTS;
    let message = |section: usize, k: usize, removal: bool| {
        let range = (k % messages) * MESSAGE_EVENTS..(k % messages + 1) * MESSAGE_EVENTS;
        let changes = range.map(|i| bench.data.change(section, i));
        changes.map(|c| if removal { bench.data.removed(c, 0) } else { bench.data.stored(c, 0) }).collect::<Vec<_>>()
    };
    let (steps, mut prepared) = (messages * rounds, Vec::new());
    for k in 0..steps + MIXED_WINDOW {
        if k < steps {
            prepared.push(message(MIXED_STORES, k, false));
        }
        if k >= MIXED_WINDOW {
            prepared.push(message(MIXED_REMOVALS, k - MIXED_WINDOW, true));
        }
    }
    let queries = &bench.queries[set];
    let mut times = Vec::with_capacity(prepared.len() * MIXED_FINDS);
    let (mut depth, mut next) = (0, 0);
    let start = Instant::now();
    for events in prepared {
        for event in events {
            bench.index.enqueue(event);
        }
        for _ in 0..MIXED_FINDS {
            let begin = Instant::now();
            depth += u64::from(depth_of(&bench.index, &queries[next]));
            times.push(begin.elapsed().as_nanos() as u64);
            next = (next + 1) % queries.len();
        }
    }
    bench.index.flush();
    let seconds = start.elapsed().as_secs_f64();
    check_depth(bench, set, times.len() as u64, depth);
    format!(r#"{{"perSecond":{},"p99Us":{}}}"#, times.len() as f64 / seconds, p99_us(times))
}

/// Local and sequence hashes of a prompt.
fn hash(tokens: usize, at_least: Duration) -> String {
    let tokens: Vec<u32> = (0..tokens as u32).collect();
    let (mut passes, mut last) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < at_least {
        let local = compute_block_hash_for_seq(black_box(&tokens), 64, BlockHashOptions::default());
        last = black_box(compute_seq_hash_for_block(&local)).last().copied().expect("there are blocks");
        passes += 1;
    }
    let per_second = (passes * tokens.len()) as f64 / start.elapsed().as_secs_f64();
    format!(r#"{{"mtokPerSecond":{},"last":"{last}"}}"#, per_second / 1e6)
}

/// Blocks of the query that its sequence's worker has.
fn depth_of(index: &Index, query: &Query) -> u32 {
    index.find(query).scores.get(&query.owner).copied().unwrap_or(0)
}

fn check_depth(bench: &Bench, set: usize, finds: u64, depth: u64) {
    assert_eq!(depth, finds * u64::from(bench.data.depth(set)), "lookups of set {set} returned other depths");
}

fn p99_us(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    times[times.len() * 99 / 100] as f64 / 1e3
}
